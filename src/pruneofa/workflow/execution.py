"""Run one stage: skip it when nothing has changed, continue it when it was broken off."""

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pruneofa.allocator import keep_freed_memory
from pruneofa.atomic import remove_leftovers
from pruneofa.data.tasks.layouts import located
from pruneofa.errors import ConfigurationError
from pruneofa.ranks import is_first, on_first
from pruneofa.recipe.document import Recipe
from pruneofa.stage_folder import CHECKPOINTS_FOLDER, STATE_FOLDER
from pruneofa.workflow.record import (
    StageRecord,
    adds_only_defaults,
    changes,
    fingerprint,
    input_fingerprint,
    read_record,
    source_fingerprint,
)
from pruneofa.workflow.stage_list import Stage

logger = logging.getLogger(__name__)


def execute(
    stage: Stage, recipe: Recipe, inputs: Mapping[str, str], output_dir: Path, *, replace_stale: bool = False
) -> StageRecord:
    """Run `stage` into `output_dir` unless it is done already; of several processes each must call this.

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
    record, is_new = on_first(partial(_begin, stage, recipe, inputs, output_dir, replace_stale))
    if record.finished:
        return record
    keep_freed_memory()
    run = partial(stage.run, recipe, inputs | checkpoint, output_dir)
    started = time.monotonic()
    try:
        record.results = run() if stage.trains else on_first(run)
    except BaseException:
        # What went wrong is told by the error on its way; a disk too full for the record must not hide it.
        if is_first():
            record.seconds += time.monotonic() - started
            with contextlib.suppress(OSError):
                _leave(output_dir, record, is_new)
        raise
    on_first(partial(_finish, record, output_dir, started))
    return record


def _begin(
    stage: Stage, recipe: Recipe, inputs: Mapping[str, str], output_dir: Path, replace_stale: bool
) -> tuple[StageRecord, bool]:
    """The record of a stage that is done, is gone on with, or begins; and whether its folder was made for it."""
    _refuse_unfinished(inputs)
    settings = _settings(stage, recipe, inputs)
    wanted = fingerprint(settings)
    given = settings | {section: {} for section in stage.sections}
    given |= recipe.model_dump(mode="json", exclude_defaults=True, include=set(stage.sections))
    record = _usable_record(stage, output_dir, settings, given, replace_stale)
    if record is not None and record.finished:
        logger.info("%s: unchanged, skipped", stage.name)
        return record, False
    if record is not None:
        logger.info("%s: was interrupted, continuing", stage.name)
        remove_leftovers(output_dir)
    else:
        logger.info("%s: running", stage.name)
        record = StageRecord(stage.name, wanted, settings)
    is_new = not output_dir.exists()
    try:
        record.write(output_dir)
    except BaseException:
        with contextlib.suppress(OSError):
            _leave(output_dir, record, is_new)
        raise
    return record, is_new


def _finish(record: StageRecord, output_dir: Path, started: float) -> None:
    record.seconds, record.finished = record.seconds + time.monotonic() - started, True
    record.write(output_dir)
    clear_folder(output_dir / STATE_FOLDER / CHECKPOINTS_FOLDER)
    logger.info("%s: done in %.0f s", record.stage, record.seconds)


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
    files = {key: source_fingerprint(source) for key, source in _sources(stage, recipe).items()}
    if any(files.values()):
        described["files"] = {key: found for key, found in files.items() if found}
    return dict(json.loads(json.dumps(described)))


def _sources(stage: Stage, recipe: Recipe) -> dict[str, str | list[str] | None]:
    """Recipe key -> data source, of the sections that decide the stage's result."""
    found: dict[str, str | list[str] | None] = {}
    if "corpus" in stage.sections and recipe.corpus is not None:
        found["corpus.source"] = recipe.corpus.source
    if "task" in stage.sections and recipe.task is not None:
        task = located(recipe.task)
        found |= {
            "task.train": task.train,
            "task.evaluation": task.evaluation,
            "task.article_split": task.article_split,
        }
        found |= {f"task.also_evaluate.{name}": source for name, source in task.also_evaluate.items()}
    if "quantize" in stage.sections and recipe.quantize is not None:
        found["quantize.calibration.source"] = recipe.quantize.calibration.source
    return found


def _usable_record(
    stage: Stage, folder: Path, settings: Mapping[str, Any], given: Mapping[str, Any], replace_stale: bool
) -> StageRecord | None:
    """The record to go on from, or None to start in a clean folder; what of `settings` is no default is `given`."""
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
    # A field that the recipe has got since, at its default, leaves an older run as it is.
    if record.fingerprint == fingerprint(settings) or adds_only_defaults(record.settings, settings, given):
        return record
    if not record.finished and not _has_checkpoint(folder):
        clear_folder(folder)
        return None
    changed = changes(record.settings, settings)
    if not record.finished and changed and all(key.startswith(stage.may_change) for key in changed):
        logger.info("%s: changed (%s), going on with what is still valid", stage.name, ", ".join(changed))
        record.settings, record.fingerprint = dict(settings), fingerprint(settings)
        return record
    differing = ", ".join(changed) or "the inputs"
    if not replace_stale:
        raise ConfigurationError(
            f"output_dir {str(folder)!r} holds another run of {stage.name} (different: {differing}); "
            "choose another --output_dir, or pass --overwrite_output_dir to replace it"
        )
    logger.info("%s: changed (%s), starting anew", stage.name, differing)
    clear_folder(folder)
    return None
