"""What a report is made of, as plain values, and its file `report.json`."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pruneofa import atomic
from pruneofa.errors import DataError

FORMAT_VERSION = 1
"""Version of the layout of `report.json`."""


@dataclasses.dataclass(frozen=True)
class ModelRow:
    """One model of the comparison. The first row of a report is the one that the others are measured against.

    Attributes:
        name: what the reader calls it, e.g. `sparse int8`.
        metrics: name -> value; fractions of one are shown in percent.
        encoder_sparsity: zeros / weights of the encoder's Linear layers, pooler left out, in [0, 1].
        encoder_parameters: number of those weights.
        bytes_encoder: bytes on disk of those weights, with everything that is needed to read them.
        bytes_total: bytes on disk of the whole model.
        nominal_ratio: the paper's ratio, bits of a float / bits of a value / density; no index counted.
        real_ratio: bytes of the encoder in float32 / `bytes_encoder`.
        file: the file or folder that was measured.
        note: one remark for the reader.
    """

    name: str
    metrics: dict[str, float]
    encoder_sparsity: float
    encoder_parameters: int
    bytes_encoder: int
    bytes_total: int
    nominal_ratio: float | None
    real_ratio: float | None
    file: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Curve:
    """What one stage logged over its steps.

    Attributes:
        stage: the stage's name.
        steps: optimizer steps, ascending, each once.
        series: key as logged -> one value per step, None where nothing was logged.
    """

    stage: str
    steps: list[int]
    series: dict[str, list[float | None]]

    def __post_init__(self) -> None:
        for key, values in self.series.items():
            if len(values) != len(self.steps):
                raise DataError(
                    f"curve of stage {self.stage!r}: series {key!r} has {len(values)} values for {len(self.steps)} "
                    "steps; give one value per step, None where there is none"
                )

    def points(self, key: str) -> tuple[list[int], list[float]]:
        """The steps at which `key` was logged, and its values there; both empty if it never was."""
        pairs = [
            (step, value)
            for step, value in zip(self.steps, self.series.get(key, [None] * len(self.steps)), strict=True)
            if value is not None
        ]
        return [step for step, _ in pairs], [value for _, value in pairs]


@dataclasses.dataclass(frozen=True)
class TensorSparsity:
    """How many weights of one tensor are left; `sparsity` is 1 - nonzero / size."""

    name: str
    shape: tuple[int, ...]
    nonzero: int
    size: int
    sparsity: float


@dataclasses.dataclass(frozen=True)
class SpeedRow:
    """How fast one model is on one runtime, for one shape.

    Attributes:
        model: what the reader calls it, e.g. `sparse int8`.
        runtime: what computed it, and in which form.
        batch: sequences of a call.
        length: tokens of a sequence.
        threads: cores.
        median_seconds: of a call.
        p95_seconds: 95 % of the calls took no longer.
        items_per_second: sequences a second.
        ratio: times the engine's median.
    """

    model: str
    runtime: str
    batch: int
    length: int
    threads: int
    median_seconds: float
    p95_seconds: float
    items_per_second: float
    ratio: float


@dataclasses.dataclass(frozen=True)
class AnsweredText:
    """A text of the evaluation split, and what the engine says of it; `expected` is its label in the data."""

    text: str
    label: str
    score: float
    expected: str


class StageTime(NamedTuple):
    """How long one stage took, in seconds, and how it ended (`done`, `skipped` ...)."""

    name: str
    seconds: float
    status: str


@dataclasses.dataclass(frozen=True)
class ReportData:
    """Everything that the report of one run shows; all of it measured, nothing computed later.

    Attributes:
        title: heading of the page.
        rows: the models compared, the dense one first and the run's result last.
        curves: one per stage that trained.
        tensors: the tensors of the run's result.
        facts: machine, data, versions: label -> text.
        stages: name, seconds and status of each stage, in order.
        recipe_yaml: the recipe as it was run.
        notes: remarks for the reader, one paragraph each.
        speed: the models' speed, where it was measured; the engine's row comes first for each shape.
        answers: texts that the engine has answered.
    """

    title: str
    rows: list[ModelRow]
    curves: list[Curve]
    tensors: list[TensorSparsity]
    facts: dict[str, str]
    stages: list[StageTime]
    recipe_yaml: str
    notes: list[str]
    speed: list[SpeedRow] = dataclasses.field(default_factory=list)
    answers: list[AnsweredText] = dataclasses.field(default_factory=list)

    def to_json(self) -> str:
        """This report as JSON text: `format_version`, then its fields by name.

        Raises:
            DataError: a number is not finite; JSON has no such numbers.
        """
        document: dict[str, Any] = {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        document["stages"] = [stage._asdict() for stage in self.stages]
        try:
            # ASCII only, so that a file name that is not valid UTF-8 (a lone surrogate) survives too.
            return json.dumps(document, indent=1, allow_nan=False) + "\n"
        except ValueError as error:
            raise DataError(
                f"report {self.title!r} holds a number that is not finite; JSON has none: leave it out or use None"
            ) from error

    def save(self, path: str | Path) -> None:
        """Write `to_json()` to `path`, all of it or nothing."""
        atomic.write_text(path, self.to_json())


def curves_from_log_history(stage: str, log_history: Sequence[Mapping[str, Any]]) -> Curve:
    """The curve of a stage from the log of transformers' Trainer (`trainer.state.log_history`).

    Entries of one step are merged, a later one wins; steps come out in ascending order. What is no finite number
    (text, booleans, None, NaN, infinity) is dropped, and so are entries without a step.

    Args:
        stage: the stage's name.
        log_history: dictionaries with `step` and whatever was logged at it.
    """
    merged: dict[int, dict[str, float]] = {}
    for entry in log_history:
        step = _finite(entry.get("step"))
        if step is None or step != int(step) or step < 0:
            continue
        values = {key: _finite(value) for key, value in entry.items() if key != "step"}
        merged.setdefault(int(step), {}).update({key: value for key, value in values.items() if value is not None})
    steps = sorted(step for step, values in merged.items() if values)
    keys = dict.fromkeys(key for step in steps for key in merged[step])
    return Curve(stage, steps, {key: [merged[step].get(key) for step in steps] for key in keys})


def _finite(value: Any) -> float | None:
    """`value` as a float if it is a finite real number (numpy's scalars too), else None."""
    if isinstance(value, (bool, str, bytes)) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None
    return number if math.isfinite(number) else None
