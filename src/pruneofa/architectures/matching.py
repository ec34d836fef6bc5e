"""Modules chosen by patterns: globs and regular expressions for their whole names."""

import difflib
import fnmatch
import logging
import re
from collections.abc import Iterable

from pruneofa.errors import ConfigurationError

__all__ = ["match_modules"]

logger = logging.getLogger(__name__)


def match_modules(names: Iterable[str], targets: Iterable[str], ignore: Iterable[str] = ()) -> list[str]:
    """The names that some pattern of `targets` matches and none of `ignore` does, in the order of `names`.

    Args:
        names: Dotted module names.
        targets: Patterns for the whole name: a glob (`*` also crosses dots), or `re:` and a regular expression.
        ignore: Patterns of the same kind; one that matches nothing is only logged, so that one list serves many models.

    Raises:
        ConfigurationError: If a pattern of `targets` matches no name, a regular expression is malformed, or `ignore`
            leaves nothing over.
    """
    names = list(names)
    targets = list(targets)
    chosen: set[str] = set()
    for pattern in targets:
        hits = _matches(names, pattern)
        if not hits:
            raise ConfigurationError(f"targets: pattern {pattern!r} matches no module; {_nearest(pattern, names)}")
        chosen |= hits
    ignored: set[str] = set()
    for pattern in ignore:
        hits = _matches(names, pattern)
        if not hits:
            logger.warning("ignore: pattern %r matches no module", pattern)
        ignored |= hits
    if chosen and chosen <= ignored:
        raise ConfigurationError(f"ignore: its patterns exclude every module that targets {targets} matched")
    return [name for name in names if name in chosen and name not in ignored]


def _matches(names: list[str], pattern: str) -> set[str]:
    if not pattern.startswith("re:"):
        return {name for name in names if fnmatch.fnmatchcase(name, pattern)}
    try:
        expression = re.compile(pattern.removeprefix("re:"))
    except re.error as error:
        raise ConfigurationError(f"pattern {pattern!r} is not a regular expression: {error}") from error
    return {name for name in names if expression.fullmatch(name)}


def _nearest(pattern: str, names: list[str]) -> str:
    if not names:
        return "the model has no module to choose from"
    nearest = difflib.get_close_matches(pattern.removeprefix("re:").strip("*."), names, n=3, cutoff=0.0)
    return f"nearest modules: {', '.join(nearest)} (a pattern must fit the whole name; `*` crosses dots)"
