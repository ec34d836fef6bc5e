"""Run one stage: skip it when nothing has changed, continue it when it was broken off."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
)

logger = logging.getLogger(__name__)

StageFunction = Callable[[Recipe, Mapping[str, str], Path], dict[str, Any]]


@dataclass(frozen=True)
class Stage:
    """A step of the pipeline.

    Attributes:
        name: of the stage, its command and its folder.
        sections: recipe sections that decide its result.
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

    Raises:
        ConfigurationError: the folder holds something else.
    """
    checkpoint = {"checkpoint": inputs["checkpoint"]} if "checkpoint" in inputs else {}
    inputs = {name: inputs[name] for name in (key.rstrip("?") for key in stage.inputs) if name in inputs}
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
    output_dir.mkdir(parents=True, exist_ok=True)
    record.write(output_dir)
    started = time.monotonic()
    try:
        record.results = stage.run(recipe, inputs | checkpoint, output_dir)
        record.finished = True
        clear_folder(output_dir / STATE_FOLDER / CHECKPOINTS_FOLDER)
    finally:
        record.seconds += time.monotonic() - started
        if output_dir.exists():
            record.write(output_dir)
    logger.info("%s: done in %.0f s", stage.name, record.seconds)
    return record


def clear_folder(folder: Path) -> None:
    """Remove a folder and all in it."""
    shutil.rmtree(folder, ignore_errors=True)


def _settings(stage: Stage, recipe: Recipe, inputs: Mapping[str, str]) -> dict[str, Any]:
    dumped = recipe.model_dump(mode="json")
    sections = {name: dumped[name] for name in ("seed", *stage.sections)}
    described = {
        "stage": stage.name,
        **sections,
        "inputs": {name: input_fingerprint(at) for name, at in inputs.items()},
    }
    return dict(json.loads(json.dumps(described)))


def _usable_record(
    stage: Stage, folder: Path, settings: Mapping[str, Any], wanted: str, replace_stale: bool
) -> StageRecord | None:
    """The record to go on from; None to start in a clean folder."""
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
    differing = ", ".join(changes(record.settings, settings)) or "the inputs"
    if not replace_stale:
        raise ConfigurationError(
            f"output_dir {str(folder)!r} holds another run of {stage.name} (different: {differing}); "
            "choose another --output_dir, or pass --overwrite_output_dir to replace it"
        )
    logger.info("%s: changed (%s), starting anew", stage.name, differing)
    clear_folder(folder)
    return None
