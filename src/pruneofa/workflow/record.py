"""A stage's record, in its folder's `.stage`: what it was made from, and whether it is finished."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pruneofa.atomic import write_json
from pruneofa.data.sources.reading import describe_source, is_file_source
from pruneofa.errors import CheckpointError
from pruneofa.stage_folder import STATE_FOLDER

RECORD_NAME = "record.json"


@dataclass
class StageRecord:
    """What `.stage/record.json` holds.

    Attributes:
        stage: name of the stage.
        fingerprint: SHA-256 of everything that decides the result: settings, seed, and the inputs' fingerprints.
        settings: those settings, for saying what has changed.
        finished: whether the folder is complete.
        seconds: time spent, broken-off attempts included.
        results: figures that the stage reports.
    """

    stage: str
    fingerprint: str
    settings: dict[str, Any]
    finished: bool = False
    seconds: float = 0.0
    results: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write the record into `folder`."""
        write_json(folder / STATE_FOLDER / RECORD_NAME, asdict(self))


def read_record(folder: Path) -> StageRecord | None:
    """The record in `folder`, or None when there is none.

    Raises:
        CheckpointError: the record is damaged.
    """
    path = folder / STATE_FOLDER / RECORD_NAME
    if not path.exists():
        return None
    try:
        return StageRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, OSError) as error:
        raise CheckpointError(
            f"{path}: no readable record of a stage ({error}); remove the folder and run again"
        ) from None


def fingerprint(settings: Mapping[str, Any]) -> str:
    """SHA-256 of `settings` in canonical JSON."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def input_fingerprint(path: str) -> str:
    """What identifies an input: a stage folder's own fingerprint, else names, sizes and times of a folder's files.

    A hub name stands for itself.
    """
    folder = Path(path)
    if not folder.exists():
        return path
    record = read_record(folder) if folder.is_dir() else None
    if record is not None:
        return record.fingerprint
    files = sorted(folder.iterdir()) if folder.is_dir() else [folder]
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return fingerprint({"files": facts})


def source_fingerprint(source: str | list[str] | None) -> str | None:
    """SHA-256 over the files that a data source consists of; None for one that its name alone stands for.

    Raises:
        DataError: a file is missing.
    """
    items = [source] if isinstance(source, str) else source or []
    local = [item for item in items if is_file_source(item)]
    return fingerprint({"files": describe_source(local)}) if local else None


def changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ."""
    keys = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            keys += changes(before, after, f"{prefix}{key}.")
        elif before != after:
            keys.append(f"{prefix}{key}")
    return keys


def adds_only_defaults(old: Mapping[str, Any], new: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether `new` differs from `old` by nothing but keys that `old` lacks and that stand at their defaults.

    Such keys are fields that the recipe has got since `old` was written; their defaults are what was done before.

    Args:
        old, new: settings.
        given: what of `new` is not at its default.
    """
    for key in {*old, *new}:
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            if not adds_only_defaults(before, after, given.get(key) or {}):
                return False
        elif key in old or key in given:
            return False
    return True
