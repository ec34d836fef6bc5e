"""What benchmarks/task_ladder.py stands on: a task's rows tokenised once, a part of them, and folders kept small."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pruneofa.atomic import write_json, write_text
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.layouts import located
from pruneofa.data.tasks.rows import read_task_rows
from pruneofa.recipe.document import Recipe
from pruneofa.stage_folder import STATE_FOLDER
from pruneofa.stages import evaluate
from pruneofa.stages.evaluate import evaluate_model
from pruneofa.training import tasks as task_training
from pruneofa.workflow.execution import clear_folder, execute
from pruneofa.workflow.record import StageRecord, read_record
from pruneofa.workflow.stage_list import STAGES

HELD_OUT_OF_PART = 0.1
"""Share of a part of a task's training rows that is held out at least."""

_METRICS_NAME = "metrics.json"


@contextmanager
def tokenised_once() -> Iterator[None]:
    """Within the block a task that was read and tokenised is kept: many short runs look at the same rows."""
    with (
        patch.object(task_training, "load_task", _keeping_last(task_training.load_task)),
        patch.object(evaluate, "load_evaluations", _keeping_last(evaluate.load_evaluations)),
    ):
        yield


def _keeping_last(load: Callable[..., Any]) -> Callable[..., Any]:
    """`load(config, ...)`, which keeps what it gave for the last config; all models have the same tokenizer."""
    kept: dict[str, Any] = {}

    def loaded(config: TaskConfig, *rest: Any) -> Any:
        key = config.model_dump_json()
        if key not in kept:
            kept.clear()
            kept[key] = load(config, *rest)
        return kept[key]

    return loaded


def part_of_task(about: dict[str, Any], count: int | None, folder: Path) -> dict[str, Any]:
    """Keys of `task` with at most `count` training rows, by the hash of their content; the part is kept in `folder`.

    Of a part at least `HELD_OUT_OF_PART` is held out.

    A task whose splits are cut by article keeps its rows, since both come from one file.
    """
    task = located(TaskConfig.model_validate({**about, "validation_fraction": 0.0}))
    if count is None or task.article_split is not None:
        return about
    file = folder / f"train-{count}.jsonl"
    facts = folder / f"train-{count}.json"
    if not facts.exists():
        rows = read_task_rows(task).train
        lines = sorted((json.dumps(row, ensure_ascii=False) for row in rows), key=_hash)[:count]
        folder.mkdir(parents=True, exist_ok=True)
        write_text(file, "\n".join(lines) + "\n")
        write_json(facts, {"of": len(rows)})
    of = json.loads(facts.read_text(encoding="utf-8"))["of"]
    if of <= count:
        return about
    said = f"{task.partial + ', and of that ' if task.partial else ''}{count:,} of {of:,} training examples"
    kept = {key: value for key, value in about.items() if key != "data_dir"}
    further: dict[str, Any] = {"evaluation": task.evaluation, "also_evaluate": task.also_evaluate}
    # Enough must be held out to choose by, also of a part.
    further["validation_fraction"] = max(about.get("validation_fraction", 0.0), HELD_OUT_OF_PART)
    return {**kept, "train": str(file), **further, "strip_full_stop": task.strip_full_stop, "partial": said}


def _hash(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Wait until no other process is at this folder, and keep others away."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run_stage(stage: str, recipe: Recipe, inputs: dict[str, str], folder: Path, *, model: bool = False) -> StageRecord:
    """Run a stage where it has not run; with `model` also where its model was dropped."""
    with only_process(folder):
        if model and _is_dropped(folder):
            clear_folder(folder)
        return execute(STAGES[stage], recipe, inputs, folder, replace_stale=True)


def metrics_of(folder: Path, recipe: Recipe) -> dict[str, float]:
    """A model's metrics on the split that is reported on; computed once, and kept in its folder."""
    kept = folder / STATE_FOLDER / _METRICS_NAME
    if not kept.exists():
        assert recipe.task is not None
        write_json(kept, evaluate_model(str(folder), located(recipe.task)).metrics)
    return dict(json.loads(kept.read_text(encoding="utf-8")))


def has_metrics(folder: Path) -> bool:
    """Whether `metrics_of` needs the model no more."""
    return (folder / STATE_FOLDER / _METRICS_NAME).exists()


def drop_model(folder: Path) -> None:
    """Remove what a finished stage's folder holds beside its record, log and metrics."""
    for path in folder.iterdir():
        if path.name != STATE_FOLDER:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in (folder / STATE_FOLDER).glob("*.safetensors"):
        path.unlink(missing_ok=True)


def _is_dropped(folder: Path) -> bool:
    record = read_record(folder)
    return record is not None and record.finished and not (folder / "config.json").exists()
