"""What is wrong with settings, in words: key, value, what is allowed, and the nearest right key for a misspelt one."""

import difflib
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
_SHORT.maxstring = _SHORT.maxother = 80


def describe_faults(error: ValidationError, root: type[BaseModel], flags: Mapping[str, str] | None = None) -> list[str]:
    """One line for each faulty key.

    Args:
        error: of reading a document as `root`.
        root: the kind of settings.
        flags: recipe key -> flag of the command that sets it; named in the line.
    """
    lines: dict[str, list[str]] = {}
    for fault in error.errors(include_url=False):
        place = _Place.at(fault["loc"], root)
        # A field of several forms (a text or a list) reports each form that doesn't fit; they belong together.
        lines.setdefault(place.key, []).append(_describe(fault, place, flags or {}, root))
    return [_joined(found) for found in lines.values()]


@dataclass(frozen=True)
class _Place:
    """Where a fault is.

    Attributes:
        key: dotted key, without pydantic's names for the forms of a union.
        keys: what is allowed beside it.
        field: the declaration of the key, where there is one.
    """

    key: str
    keys: list[str]
    field: FieldInfo | None

    @classmethod
    def at(cls, location: Iterable[Any], root: type[BaseModel]) -> "_Place":
        model: type[BaseModel] | None = root
        keys, path, field = list(root.model_fields), [], None
        for part in location:
            if model is None:
                if isinstance(part, int):
                    path.append(str(part))
                continue
            path.append(str(part))
            keys = list(model.model_fields)
            field = model.model_fields.get(str(part))
            model = _model_in(field.annotation) if field is not None else None
        return cls(".".join(path) or root.__name__.lower(), keys, field)


def _describe(fault: Any, place: _Place, flags: Mapping[str, str], root: type[BaseModel]) -> str:
    key = f"{flags[place.key]} ({place.key})" if place.key in flags else place.key
    if fault["type"] in ("extra_forbidden", "invalid_key"):
        last = place.key.rpartition(".")[2]
        nearest = difflib.get_close_matches(last, place.keys, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"allowed here: {', '.join(place.keys)}"
        return f"{key}: unknown key; {hint}"
    if fault["type"] == "missing":
        setters = [flag for path, flag in flags.items() if path.startswith(f"{place.key}.") or path == place.key]
        return f"{place.key}: is required and missing" + (f"; give {' and '.join(setters)}" if setters else "")
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{key}: {message}"
    if fault["type"] == "model_type":
        keys = ", ".join(_inner_keys(place.field, root))
        return f"{key}: is {_SHORT.repr(fault['input'])}; allowed: a section with {keys}"
    allowed = re.sub(r"^\w+ should (be|have) |( after validation)?, not .*$", "", message)
    meaning = f" ({place.field.description})" if place.field is not None and place.field.description else ""
    return f"{key}: is {_SHORT.repr(fault['input'])}; allowed: {allowed[:1].lower()}{allowed[1:]}{meaning}"


def _joined(lines: list[str]) -> str:
    """Several lines on one key: what one form allows, or what another does."""
    first, *others = dict.fromkeys(lines)
    head, separator, _ = first.partition("; allowed: ")
    allowed = [line.removeprefix(head + separator) for line in others if separator and line.startswith(head)]
    if len(allowed) < len(others):
        return "; ".join([first, *others])
    return " or ".join([first.partition(" (")[0], *allowed]) if allowed else first


def _inner_keys(field: FieldInfo | None, root: type[BaseModel]) -> list[str]:
    model = _model_in(field.annotation) if field is not None else root
    return list(model.model_fields) if model is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
