"""Folders of a run's checkpoints: sealed by a manifest of hashes, verified before one is resumed from."""

import hashlib
import json
import logging
import os
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from pruneofa.atomic import write_json

logger = logging.getLogger(__name__)

MANIFEST_NAME = "checkpoint.json"
STAGING_PREFIX = ".writing-"
_FORMAT_VERSION = 1
_LARGEST_MANIFEST = 2**24
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def seal(folder: Path, step: int) -> None:
    """Write the manifest of `folder`'s files, with their sizes and SHA-256, as its last file."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _digest(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    write_json(folder / MANIFEST_NAME, {"format_version": _FORMAT_VERSION, "step": step, "files": files})


def publish(staged: Path, final: Path) -> None:
    """Flush a sealed folder to the disk and give it its name; an older folder of that name goes."""
    for path in [*staged.rglob("*"), staged]:
        _flush(path)
    if final.exists():
        shutil.rmtree(final)
    staged.replace(final)
    _flush(final.parent)


def fault(folder: Path) -> str | None:
    """What is wrong with the checkpoint in `folder`, or None when every file is as its manifest says."""
    files = _listed_files(folder / MANIFEST_NAME)
    if files is None:
        return f"{MANIFEST_NAME} is missing or unreadable"
    for name, entry in files.items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != entry["bytes"]:
                return f"{name} has {size} bytes, {entry['bytes']} were written"
            if _digest(path) != entry["sha256"]:
                return f"{name} was altered: its SHA-256 is not the one recorded"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} can't be read ({error.strerror})"
    return None


def checkpoints(output_dir: str | Path) -> list[Path]:
    """Checkpoint folders of a run, latest first, sound or not."""
    found = [path for path in Path(output_dir).glob("checkpoint-*") if _CHECKPOINT.fullmatch(path.name)]
    return sorted(found, key=_step, reverse=True)


def latest_checkpoint(output_dir: str | Path) -> Path | None:
    """The latest sound checkpoint of a run, or None. A damaged one is passed over with a warning."""
    for path in checkpoints(output_dir):
        problem = fault(path)
        if problem is None:
            return path
        logger.warning("checkpoint %s is damaged (%s); trying the one before", path, problem)
    return None


def rotate(newest: Path, keep: int, also_keep: str | Path | None = None) -> None:
    """Keep `newest`, just written, and those before it, `keep` in all; delete every other checkpoint beside it.

    A later one goes too: it is damaged, or belongs to a course of the run that was given up when training went on from
    an earlier checkpoint. Left there, the next start would continue from it.

    Args:
        newest: the latest checkpoint of the run as it goes now.
        keep: how many to keep, at least 1.
        also_keep: one that stays in any case (the best).
    """
    earlier = [path for path in checkpoints(newest.parent) if _step(path) < _step(newest)]
    kept = {path.resolve() for path in (newest, *earlier[: keep - 1])}
    if also_keep is not None:
        kept.add(Path(also_keep).resolve())
    for path in checkpoints(newest.parent):
        if path.resolve() not in kept:
            shutil.rmtree(path, ignore_errors=True)


def remove_staging(output_dir: str | Path) -> None:
    """Delete what a killed run left half-written."""
    for path in Path(output_dir).glob(f"{STAGING_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)


def _listed_files(manifest: Path) -> dict[str, dict[str, Any]] | None:
    """The files that a manifest lists, or None when it is not one that `seal` wrote."""
    try:
        if manifest.stat().st_size > _LARGEST_MANIFEST:
            return None
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("format_version") != _FORMAT_VERSION:
        return None
    files = content.get("files")
    if not isinstance(files, dict) or not files:
        return None
    for name, entry in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            return None
        if not isinstance(entry, dict) or not {"bytes", "sha256"} <= entry.keys():
            return None
    return files


def _step(checkpoint: Path) -> int:
    match = _CHECKPOINT.fullmatch(checkpoint.name)
    assert match is not None
    return int(match[1])


def _flush(path: Path) -> None:
    """Have the disk hold a file, or the entries of a folder, before what follows."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
