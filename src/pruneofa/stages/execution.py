"""Run one stage: skip it when nothing has changed, continue it when it was broken off."""

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneofa.allocator import keep_freed_memory
from pruneofa.errors import ConfigurationError
from pruneofa.recipe import Recipe
from pruneofa.stages.record import (
    CHECKPOINTS_FOLDER,
    STATE_FOLDER,
    StageRecord,
    changes,
    fingerprint,
    input_fingerprint,
    read_record,
    source_fingerprint,
)

logger = logging.getLogger(__name__)

# Recipe keys that name data.
_SOURCES = (("corpus", "source"), ("task", "train"), ("task", "evaluation"))

StageFunction = Callable[[Recipe, Mapping[str, str], Path], dict[str, Any]]


@dataclass(frozen=True)
class Stage:
    """A step of the pipeline.

    Attributes:
        name: of the stage, its command and its folder.
        sections: recipe sections that decide its result, with the files that they name as sources.
        inputs: names of the artefacts it reads; an ending "?" marks one that may be missing.
        run: the function that does it: recipe, inputs by name, folder to write -> figures to report.
    """

    name: str
    sections: tuple[str, ...]
    inputs: tuple[str, ...]
    run: StageFunction


def execute(
    stage: Stage, recipe: Recipe, inputs: Mapping[str, str], output_dir: Path, *, replace_stale: bool = False
) -> StageRecord:
    """Run `stage` into `output_dir` unless it is done already.

    Args:
        stage: what to run.
        recipe: its settings.
        inputs: path or hub name of each artefact it reads; "checkpoint" names one to continue from.
        output_dir: its folder; kept when finished from the same inputs, continued when unfinished.
        replace_stale: start anew when the folder was made from other inputs; otherwise that is an error.

    A stage that fails before it has anything to go on from leaves no trace.

    Raises:
        ConfigurationError: the folder holds something else, or an input is the folder of an unfinished stage.
    """
    checkpoint = {"checkpoint": inputs["checkpoint"]} if "checkpoint" in inputs else {}
    inputs = {name: inputs[name] for name in (key.rstrip("?") for key in stage.inputs) if name in inputs}
    _refuse_unfinished(inputs)
    settings = _settings(stage, recipe, inputs)
    wanted = fingerprint(settings)
    record = _usable_record(stage, output_dir, settings, wanted, replace_stale)
    if record is not None and record.finished:
        logger.info("%s: unchanged, skipped", stage.name)
        return record
    if record is not None:
        logger.info("%s: was interrupted, continuing", stage.name)
    else:
        logger.info("%s: running", stage.name)
        record = StageRecord(stage.name, wanted, settings)
    keep_freed_memory()
    is_new = not output_dir.exists()
    output_dir.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        record.write(output_dir)
        record.results = stage.run(recipe, inputs | checkpoint, output_dir)
    except BaseException:
        record.seconds += time.monotonic() - started
        # What went wrong is told by the error on its way; a disk too full for the record must not hide it.
        with contextlib.suppress(OSError):
            _leave(output_dir, record, is_new)
        raise
    record.finished = True
    record.seconds += time.monotonic() - started
    record.write(output_dir)
    clear_folder(output_dir / STATE_FOLDER / CHECKPOINTS_FOLDER)
    logger.info("%s: done in %.0f s", stage.name, record.seconds)
    return record


def clear_folder(folder: Path) -> None:
    """Remove a folder and all in it."""
    shutil.rmtree(folder, ignore_errors=True)


def _leave(folder: Path, record: StageRecord, is_new: bool) -> None:
    """After a failure: keep what can be continued, else take away what the stage began."""
    if _has_checkpoint(folder):
        record.write(folder)
        return
    clear_folder(folder)
    if not is_new:
        folder.mkdir()


def _has_checkpoint(folder: Path) -> bool:
    checkpoints = folder / STATE_FOLDER / CHECKPOINTS_FOLDER
    return checkpoints.is_dir() and any(checkpoints.iterdir())


def _refuse_unfinished(inputs: Mapping[str, str]) -> None:
    for name, path in inputs.items():
        record = read_record(Path(path))
        if record is not None and not record.finished:
            raise ConfigurationError(
                f"{name}: {path!r} holds a {record.stage} stage that was broken off; run that to its end first"
            )


def _settings(stage: Stage, recipe: Recipe, inputs: Mapping[str, str]) -> dict[str, Any]:
    dumped = recipe.model_dump(mode="json")
    sections = {name: dumped[name] for name in ("seed", *stage.sections)}
    described = {
        "stage": stage.name,
        **sections,
        "inputs": {name: input_fingerprint(at) for name, at in inputs.items()},
    }
    files = {
        f"{section}.{key}": source_fingerprint(sections[section][key])
        for section, key in _SOURCES
        if sections.get(section) is not None
    }
    if any(files.values()):
        described["files"] = {key: found for key, found in files.items() if found}
    return dict(json.loads(json.dumps(described)))


def _usable_record(
    stage: Stage, folder: Path, settings: Mapping[str, Any], wanted: str, replace_stale: bool
) -> StageRecord | None:
    """The record to go on from; None to start in a clean folder."""
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"output_dir {str(folder)!r} is a file; give a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return None
    record = read_record(folder)
    if record is None or record.stage != stage.name:
        held = f"the stage {record.stage!r}" if record is not None else "files that no stage wrote"
        raise ConfigurationError(
            f"output_dir {str(folder)!r} holds {held}; allowed: an empty folder, or one of {stage.name!r}. "
            "Choose another --output_dir"
        )
    if record.fingerprint == wanted:
        return record
    if not record.finished and not _has_checkpoint(folder):
        clear_folder(folder)
        return None
    differing = ", ".join(changes(record.settings, settings)) or "the inputs"
    if not replace_stale:
        raise ConfigurationError(
            f"output_dir {str(folder)!r} holds another run of {stage.name} (different: {differing}); "
            "choose another --output_dir, or pass --overwrite_output_dir to replace it"
        )
    logger.info("%s: changed (%s), starting anew", stage.name, differing)
    clear_folder(folder)
    return None
