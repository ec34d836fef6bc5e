"""The one list of stages: what each reads, which part of the recipe decides it, and what it is to later ones.

The command line, preflight, plan, report and pipeline derive from it. It is light: a stage's code is imported when the
stage runs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pruneofa.recipe.document import Recipe

__all__ = ["ON_CORPUS", "ON_TASK", "PRETRAINING", "STAGES", "STEPS", "TRAINING", "Stage", "StageFunction", "Step"]

StageFunction = Callable[["Recipe", Mapping[str, str], Path], dict[str, Any]]


@dataclass(frozen=True)
class Stage:
    """A step of the pipeline.

    Attributes:
        name: of the stage, its command, its module in `pruneofa.stages`, and its folder.
        sections: recipe sections that decide its result, with the files that they name as sources.
        inputs: names of the artefacts it reads; an ending "?" marks one that may be missing. The first is the model
            to start from, where the stage trains.
        run: the function that does it: recipe, inputs by name, folder to write -> figures to report.
        trains: of several processes each runs it, and what it writes is written by the first; else the first alone.
        about: what it does, in a sentence: the help of its command, where the stage trains.
        may_change: dotted keys, or openings of them, that may have changed while an unfinished folder is gone on with:
            the stage itself finds out what of its work is still valid.
    """

    name: str
    sections: tuple[str, ...]
    inputs: tuple[str, ...]
    run: StageFunction
    trains: bool = False
    about: str = ""
    may_change: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """A stage within a run: where its inputs come from and what its folder is to later ones.

    Attributes:
        stage: what runs.
        sections: recipe sections; without any of them it is left out.
        provides: names under which later stages find its folder.
    """

    stage: Stage
    sections: tuple[str, ...]
    provides: tuple[str, ...]

    def is_asked_for(self, recipe: "Recipe") -> bool:
        """Whether the recipe has one of its sections."""
        return any(getattr(recipe, section) is not None for section in self.sections)


def _run(name: str, recipe: "Recipe", inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """`run` of the module of this name."""
    results: dict[str, Any] = import_module(f"pruneofa.stages.{name}").run(recipe, inputs, output_dir)
    return results


def _stage(
    name: str,
    sections: tuple[str, ...],
    inputs: tuple[str, ...],
    *,
    trains: bool = False,
    about: str = "",
    may_change: tuple[str, ...] = (),
) -> Stage:
    return Stage(name, sections, inputs, partial(_run, name), trains, about, may_change)


STEPS = (
    Step(
        _stage("corpus", ("corpus",), ("model",), may_change=("files.corpus.source", "corpus.on_error")),
        ("corpus",),
        ("corpus",),
    ),
    Step(
        _stage(
            "teach",
            ("teach",),
            ("model", "corpus"),
            trains=True,
            about="Teacher preparation: the dense model goes on pre-training on the corpus.",
        ),
        ("teach",),
        ("dense", "sparse"),
    ),
    Step(
        _stage(
            "prune",
            ("prune",),
            ("dense", "corpus", "teacher?"),
            trains=True,
            about="Student pruning: sparsity, learning-rate rewinding and distillation at once; the teacher is the "
            "dense model.",
        ),
        ("prune",),
        ("sparse",),
    ),
    Step(_stage("one_shot", ("one_shot",), ("sparse", "corpus")), ("one_shot",), ("sparse",)),
    Step(
        _stage(
            "prune_embedder",
            ("prune_embedder",),
            ("sparse", "corpus", "teacher?"),
            trains=True,
            about="A sentence encoder learns from its dense self what to give for any text, with the zeros that it "
            "has, or with more.",
        ),
        ("prune_embedder",),
        ("sparse", "task_model"),
    ),
    Step(
        _stage(
            "finetune",
            ("finetune", "task"),
            ("dense",),
            trains=True,
            about="The dense model learns the task: the teacher of transfer and quantize.",
        ),
        ("finetune",),
        ("task_teacher",),
    ),
    Step(
        _stage(
            "transfer",
            ("transfer", "task"),
            ("sparse", "task_teacher?"),
            trains=True,
            about="The sparse model learns the task with its zeros locked, from a dense teacher (or from labels "
            "alone).",
        ),
        ("transfer",),
        ("task_model",),
    ),
    Step(
        _stage(
            "quantize",
            ("quantize", "task"),
            ("task_model", "task_teacher?"),
            trains=True,
            about="A sparse task model to int8: trained with rounding, zeros locked and teacher on; or calibrated "
            "(--calibrate).",
        ),
        ("quantize",),
        ("int8_model",),
    ),
    Step(_stage("evaluate", ("task",), ("task_teacher?", "task_model?", "int8_model?")), ("task",), ("evaluation",)),
    Step(
        _stage("compress", ("compress",), ("task_teacher?", "task_model?", "int8_model?")),
        ("task", "prune_embedder"),
        ("compressed",),
    ),
    Step(_stage("bench", ("bench", "task"), ("compressed", "task_teacher?", "evaluation?")), ("bench",), ()),
)
STAGES = {step.stage.name: step.stage for step in STEPS}
TRAINING = tuple(name for name, stage in STAGES.items() if stage.trains)
"""Stages that train a model."""
ON_CORPUS = tuple(name for name in TRAINING if "corpus" in STAGES[name].inputs)
"""Those of them that train on the corpus."""
ON_TASK = tuple(name for name in TRAINING if "task" in STAGES[name].sections)
"""Those of them that train on the task."""
PRETRAINING = tuple(step.stage.name for step in STEPS if "task" not in (*step.sections, *step.stage.sections))
"""Stages that are done once for all tasks."""
STAGES["sensitivity"] = _stage("sensitivity", ("quantize", "task"), ("task_model",))  # no part of a whole run
