"""How much of one model's scores another keeps, with paired bootstrap intervals (Efron, 1979; percentiles)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pruneofa.errors import ConfigurationError
from pruneofa.evaluation.scoring import TaskScore

__all__ = ["Interval", "Recovery", "TaskRecovery", "recovery"]

RESAMPLES = 2_000
LEVEL = 0.95
_BATCH_NUMBERS = 2**24


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class TaskRecovery:
    """One task: the scores of both models, their difference (second - first), and their ratio (second / first)."""

    task: str
    metric: str
    first: float
    second: float
    difference: Interval
    ratio: Interval


@dataclass(frozen=True)
class Recovery:
    """Every task, and the mean of the ratios; tasks are resampled independently of each other."""

    tasks: tuple[TaskRecovery, ...]
    mean_ratio: Interval


def recovery(
    first: Sequence[TaskScore], second: Sequence[TaskScore], *, resamples: int = RESAMPLES, seed: int = 0
) -> Recovery:
    """Compare two models task by task, on the same resamples of the examples.

    Args:
        first: Scores of the model that is compared with, such as the dense one.
        second: Scores of the other, of the same tasks in the same order.
        resamples: How many are drawn.
        seed: Decides them.

    Raises:
        ConfigurationError: The two have different tasks or examples, there is none, or the first model has no score
            above 0 to keep.
    """
    if not first or [score.task for score in first] != [score.task for score in second]:
        raise ConfigurationError("tasks: both models must be scored on the same tasks, at least one")
    found, ratios, values = [], [], []
    for number, (one, two) in enumerate(zip(first, second, strict=True)):
        if len(one.values) != len(two.values):
            raise ConfigurationError(f"task {one.task!r}: the models were scored on different examples")
        if one.score <= 0:
            raise ConfigurationError(
                f"task {one.task!r}: the model that is compared with scores {one.score:.4f}, so there is nothing to "
                "keep; leave the task out"
            )
        drawn = _draw(one, two, resamples, np.random.default_rng((seed, number)))
        value = two.score / one.score
        ratio = np.divide(drawn[1], drawn[0], out=np.full(resamples, np.nan), where=drawn[0] != 0)
        ratios.append(ratio)
        values.append(value)
        gap = _interval(two.score - one.score, drawn[1] - drawn[0])
        found.append(TaskRecovery(one.task, one.metric, one.score, two.score, gap, _interval(value, ratio)))
    return Recovery(tuple(found), _interval(float(np.mean(values)), np.mean(ratios, axis=0)))


def _draw(one: TaskScore, two: TaskScore, resamples: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Both models' scores on the same resamples, [2, resamples]."""
    examples = len(one.values)
    drawn = np.empty((2, resamples))
    batch = max(1, _BATCH_NUMBERS // examples)
    for start in range(0, resamples, batch):
        stop = min(start + batch, resamples)
        chosen = random.integers(0, examples, size=(stop - start, examples))
        for row, score in enumerate((one, two)):
            values = score.values[chosen]
            drawn[row, start:stop] = (
                values.mean(axis=1) if score.targets is None else _spearman(values, score.targets[chosen])
            )
    return drawn


def _spearman(values: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's correlation of each row: Pearson's of the ranks, equal values at their mean rank."""
    from scipy.stats import rankdata

    ranks = [rankdata(side, axis=1) for side in (values, targets)]
    one, two = (side - side.mean(axis=1, keepdims=True) for side in ranks)
    lengths = np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1))
    # Of a few pairs a resample may hold one alone, many times: it has no correlation and is left out of the interval.
    result = np.full(len(one), np.nan)
    np.divide((one * two).sum(axis=1), lengths, out=result, where=lengths > 0)
    return result


def _interval(value: float, drawn: NDArray[np.float64]) -> Interval:
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(drawn, [tail, 100 - tail])
    return Interval(float(value), float(low), float(high))
