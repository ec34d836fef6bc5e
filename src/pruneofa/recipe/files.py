"""Read recipes: shipped ones by name, others by path; overrides; every fault reported at once.

A shipped recipe with a key `tasks` (task -> sections) stands for one recipe more on each of them: `bert-base-90` and
the task `squad` make `bert-base-90-squad`, which has the task's own overlay (`recipes/tasks/squad.yaml`) too. Alone it
is the pre-training.
"""

import difflib
from collections.abc import Hashable, Iterable, Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from pruneofa.atomic import write_text
from pruneofa.errors import ConfigurationError
from pruneofa.recipe.document import Recipe
from pruneofa.settings.base import checked


def shipped_recipes() -> dict[str, str]:
    """Name -> YAML text of every recipe that the package ships."""
    return dict(_shipped())


@lru_cache(maxsize=1)
def _shipped() -> dict[str, str]:
    written, overlays = _yaml_files("recipes"), _yaml_files("recipes/tasks")
    found = {}
    for name, text in written.items():
        found[name] = text
        for task, sections in _sections_by_task(name, written).items():
            found[f"{name}-{task}"] = _on_task(name, text, overlays[task], task, sections)
    return found


def _yaml_files(folder: str) -> dict[str, str]:
    """Name -> text of the YAML files in a folder of the package."""
    files = (file for file in (resources.files("pruneofa") / folder).iterdir() if file.name.endswith(".yaml"))
    return {
        file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8")
        for file in sorted(files, key=lambda file: file.name.removesuffix(".yaml"))
    }


def _sections_by_task(name: str, written: Mapping[str, str]) -> dict[str, Any]:
    """Task -> sections of a shipped recipe, with those of the recipes that it extends."""
    document = _parsed(name, written[name])
    inherited = _sections_by_task(document["extends"], written) if "extends" in document else {}
    return _merged(inherited, document.get("tasks") or {})


def _on_task(name: str, text: str, overlay: str, task: str, sections: Mapping[str, Any]) -> str:
    """YAML of a shipped recipe on a task: what it extends, the task's overlay, and the recipe's sections for it."""
    comment = text.splitlines()[1].lstrip("# ").partition(":")[0]
    about = overlay.splitlines()[0].lstrip("# ")
    head = f"# pruneofa run {name}-{task} --output_dir runs/{name}-{task}\n# {comment}, on {about}\n"
    named = f"extends: {name}\nname: {name}-{task}\n\n"
    body = yaml.dump(dict(sections), Dumper=_PlainDumper, sort_keys=False, allow_unicode=True)
    return head + named + overlay.partition("\n")[2] + "\n" + body


def load_recipe(name_or_path: str, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe of a shipped name or a YAML file, with `key.path=value` overrides, validated whole.

    A recipe with `extends: OTHER` takes over what it doesn't say itself; a section set to null is taken out.

    Raises:
        ConfigurationError: the file can't be read, or holds faults; the message lists all of them.
    """
    document = _document(name_or_path, ())
    for override in overrides:
        _apply_override(document, override)
    return recipe_from(document, name_or_path)


def recipe_with(
    name_or_path: str | None,
    settings: Mapping[str, Any],
    overrides: Iterable[str] = (),
    *,
    default_name: str,
    flags: Mapping[str, str] | None = None,
) -> Recipe:
    """A recipe as `load_recipe` gives it, or an empty one, with the values of a command's flags.

    Args:
        name_or_path: the recipe; None for the defaults under the name `default_name`.
        settings: dotted key -> value; a mapping is merged into the section.
        overrides: `key.path=value` texts, applied last.
        default_name: name of the run when there is no recipe.
        flags: dotted key -> the command's flag for it, for errors.

    Raises:
        ConfigurationError: as `load_recipe`.
    """
    document = {"name": default_name} if name_or_path is None else _document(name_or_path, ())
    for path, value in settings.items():
        _set(document, path, value, (flags or {}).get(path, f"flag for {path}"))
    for override in overrides:
        _apply_override(document, override)
    origin = f"settings of {default_name}" if name_or_path is None else f"recipe {name_or_path}"
    return checked(Recipe, document, origin, flags or {})


def recipe_from(document: Mapping[str, Any], origin: str) -> Recipe:
    """Validate a document; `origin` names it in the error.

    Raises:
        ConfigurationError: it holds faults; the message lists all of them.
    """
    return checked(Recipe, document, f"recipe {origin}", {})


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write `recipe` with every default filled in, as YAML that `load_recipe` reads back."""
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(path, text)


def _document(name_or_path: str, seen: tuple[str, ...]) -> dict[str, Any]:
    """The YAML mapping with what it extends merged in below it."""
    text, path = _read(name_or_path)
    identity = name_or_path if path is None else str(path.resolve())
    if identity in seen:
        raise ConfigurationError(f"recipe {name_or_path}: extends itself ({' -> '.join([*seen, identity])})")
    document = _parsed(name_or_path, text)
    if path is None:
        document.pop("tasks", None)  # of a shipped recipe: what makes others of it, see `_shipped`
    parent = document.pop("extends", None)
    if parent is None:
        return document
    if not isinstance(parent, str):
        raise ConfigurationError(f"recipe {name_or_path}: extends: is {parent!r:.80}; allowed: one name or path")
    beside = path.parent / parent if path is not None else None
    return _merged(
        _document(str(beside) if beside is not None and beside.is_file() else parent, (*seen, identity)), document
    )


def _read(name_or_path: str) -> tuple[str, Path | None]:
    """Text of a recipe, and its path where it is a file of the user's."""
    shipped = shipped_recipes()
    if name_or_path in shipped:
        return shipped[name_or_path], None
    path = Path(name_or_path)
    if not path.is_file():
        nearest = difflib.get_close_matches(name_or_path, shipped, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise ConfigurationError(
            f"recipe {name_or_path!r} is neither a file nor a shipped recipe (`pruneofa recipes` lists them){hint}"
        )
    try:
        return path.read_text(encoding="utf-8"), path
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"recipe {name_or_path!r} can't be read: {error}") from error


class _StrictLoader(yaml.SafeLoader):
    """As SafeLoader, but a key that stands twice in a mapping is an error; YAML would keep the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


class _PlainDumper(yaml.SafeDumper):
    """As SafeDumper, without anchors: what is the same twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _parsed(name_or_path: str, text: str) -> dict[str, Any]:
    try:
        document = yaml.load(text, _StrictLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(f"recipe {name_or_path}: no valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"recipe {name_or_path}: holds {type(document).__name__}; allowed: keys and values")
    return document


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = _merged(base[key], value) if both else value
    return result


def _apply_override(document: dict[str, Any], override: str) -> None:
    """Set one `a.b.c=value`; the value is read as YAML."""
    path, separator, text = override.partition("=")
    if not separator or not all(part.strip() for part in path.split(".")):
        raise ConfigurationError(
            f"--set {override!r}: allowed: key.path=value, for example prune.sparsity.scope=global"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--set {override!r}: the value is no valid YAML: {error}") from error
    _set(document, path, value, f"--set {override!r}")


def _set(document: dict[str, Any], path: str, value: Any, origin: str) -> None:
    """Put `value` at the dotted `path`; a mapping joins the one that is there."""
    *parents, last = path.split(".")
    for depth, key in enumerate(parents):
        section = {} if document.get(key) is None else document[key]
        if not isinstance(section, dict):
            raise ConfigurationError(f"{origin}: {'.'.join(parents[: depth + 1])} is a value, not a section")
        # A copy, since several sections of a YAML file may be aliases of one.
        document[key] = dict(section)
        document = document[key]
    joins = isinstance(value, dict) and isinstance(document.get(last), dict)
    document[last] = _merged(document[last], value) if joins else value
