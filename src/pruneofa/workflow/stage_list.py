"""The one list of stages: what each reads, which part of the recipe decides it, and what it is to later ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneofa.recipe.document import Recipe
from pruneofa.stages import (
    bench,
    compress,
    corpus,
    evaluate,
    finetune,
    prune,
    quantize,
    sensitivity,
    teach,
    transfer,
)

__all__ = ["PRETRAINING", "STAGES", "STEPS", "Stage", "StageFunction", "Step"]

StageFunction = Callable[[Recipe, Mapping[str, str], Path], dict[str, Any]]


@dataclass(frozen=True)
class Stage:
    """A step of the pipeline.

    Attributes:
        name: of the stage, its command and its folder.
        sections: recipe sections that decide its result, with the files that they name as sources.
        inputs: names of the artefacts it reads; an ending "?" marks one that may be missing.
        run: the function that does it: recipe, inputs by name, folder to write -> figures to report.
        trains: of several processes each runs it, and what it writes is written by the first; else the first alone.
    """

    name: str
    sections: tuple[str, ...]
    inputs: tuple[str, ...]
    run: StageFunction
    trains: bool = False


@dataclass(frozen=True)
class Step:
    """A stage within a run: where its inputs come from and what its folder is to later ones.

    Attributes:
        stage: what runs.
        section: the recipe section without which it is left out.
        provides: names under which later stages find its folder.
    """

    stage: Stage
    section: str
    provides: tuple[str, ...]


STEPS = (
    Step(Stage("corpus", ("corpus",), ("model",), corpus.run), "corpus", ("corpus",)),
    Step(Stage("teach", ("teach",), ("model", "corpus"), teach.run, trains=True), "teach", ("dense", "sparse")),
    Step(Stage("prune", ("prune",), ("dense", "corpus", "teacher?"), prune.run, trains=True), "prune", ("sparse",)),
    Step(Stage("finetune", ("finetune", "task"), ("dense",), finetune.run, trains=True), "finetune", ("task_teacher",)),
    Step(
        Stage("transfer", ("transfer", "task"), ("sparse", "task_teacher?"), transfer.run, trains=True),
        "transfer",
        ("task_model",),
    ),
    Step(
        Stage("quantize", ("quantize", "task"), ("task_model", "task_teacher?"), quantize.run, trains=True),
        "quantize",
        ("int8_model",),
    ),
    Step(
        Stage("evaluate", ("task",), ("task_teacher?", "task_model?", "int8_model?"), evaluate.run),
        "task",
        ("evaluation",),
    ),
    Step(
        Stage("compress", ("compress",), ("task_teacher?", "task_model?", "int8_model?"), compress.run),
        "task",
        ("compressed",),
    ),
    Step(Stage("bench", ("bench", "task"), ("compressed", "task_teacher?", "evaluation?"), bench.run), "bench", ()),
)
STAGES = {step.stage.name: step.stage for step in STEPS}
STAGES["sensitivity"] = Stage("sensitivity", ("quantize", "task"), ("task_model",), sensitivity.run)
# Not part of a whole run.
PRETRAINING = ("corpus", "teach", "prune")
"""Stages that are done once for all tasks."""
