"""Folders of a run's checkpoints: sealed by a manifest of hashes, verified before one is resumed from."""

import hashlib
import json
import logging
import os
import re
import shutil
from pathlib import Path

from pruneofa.atomic import write_json

logger = logging.getLogger(__name__)

MANIFEST_NAME = "checkpoint.json"
STAGING_PREFIX = ".writing-"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def seal(folder: Path, step: int) -> None:
    """Write the manifest of `folder`'s files, with their sizes and SHA-256, as its last file."""
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": _digest(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    write_json(folder / MANIFEST_NAME, {"format_version": 1, "step": step, "files": files})


def publish(staged: Path, final: Path) -> None:
    """Flush a sealed folder to the disk and give it its name; an older folder of that name goes."""
    for path in staged.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    if final.exists():
        shutil.rmtree(final)
    staged.replace(final)


def fault(folder: Path) -> str | None:
    """What is wrong with the checkpoint in `folder`, or None when every file is as its manifest says."""
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        files = manifest["files"].items()
    except (OSError, ValueError, KeyError, AttributeError):
        return f"{MANIFEST_NAME} is missing or unreadable"
    for name, entry in files:
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry["bytes"]:
            return f"{name} has {path.stat().st_size} bytes, {entry['bytes']} were written"
        if _digest(path) != entry["sha256"]:
            return f"{name} was altered: its SHA-256 is not the one recorded"
    return None


def checkpoints(output_dir: str | Path) -> list[Path]:
    """Checkpoint folders of a run, latest first, sound or not."""
    found = [(int(match[1]), path) for path in Path(output_dir).glob("checkpoint-*") if (match := _matches(path))]
    return [path for _, path in sorted(found, reverse=True)]


def latest_checkpoint(output_dir: str | Path) -> Path | None:
    """The latest sound checkpoint of a run, or None. A damaged one is passed over with a warning."""
    for path in checkpoints(output_dir):
        problem = fault(path)
        if problem is None:
            return path
        logger.warning("checkpoint %s is damaged (%s); trying the one before", path, problem)
    return None


def rotate(output_dir: str | Path, keep: int, also_keep: str | None = None) -> None:
    """Delete all but the `keep` latest checkpoints; the one named `also_keep` (the best) stays in any case."""
    for path in checkpoints(output_dir)[keep:]:
        if also_keep is None or path.resolve() != Path(also_keep).resolve():
            shutil.rmtree(path, ignore_errors=True)


def remove_staging(output_dir: str | Path) -> None:
    """Delete what a killed run left half-written."""
    for path in Path(output_dir).glob(f"{STAGING_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)


def _matches(path: Path) -> re.Match[str] | None:
    return _CHECKPOINT.fullmatch(path.name)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
