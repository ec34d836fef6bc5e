"""Where two models disagree, and how sure their difference is: a paired bootstrap over the examples (Efron 1979).

The same resample is drawn for both models, so that what is hard or easy for both cancels. The interval is that of the
percentiles. A classification's metrics depend only on how often each (truth, first, second) occurs, and resampling the
examples is drawing these counts; so thousands of resamples cost next to nothing, however many examples there are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pruneofa.errors import ConfigurationError, DataError

__all__ = ["Comparison", "compare_classes", "compare_numbers", "compare_scores"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
RESAMPLES = 10_000
_CHUNK = 2**22  # numbers drawn at a time


@dataclass(frozen=True)
class Comparison:
    """One metric of two models on the same examples.

    Attributes:
        metric: its name.
        first, second: its value for each.
        difference: second - first.
        low, high: the paired bootstrap's interval of the difference.
        level: the interval's level, such as 0.95.
        resamples: how many were drawn.
    """

    metric: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    level: float
    resamples: int


def compare_scores(
    metric: str,
    first: FloatArray,
    second: FloatArray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """A metric that is the mean of a score by example (exact match, F1 of an answer).

    Args:
        metric: its name.
        first, second: scores of both models, [examples].
        resamples: how many to draw.
        seed: decides the resamples.
        level: of the interval.

    Raises:
        ConfigurationError: no resample, or a level outside (0, 1).
        DataError: the two have different examples, or none.
    """
    _check(len(first), len(second), resamples, level)
    gap = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    # Scores take few values, so the counts of the distinct differences are drawn, not the examples.
    values, counts = np.unique(gap, return_counts=True)
    drawn = [
        _draw(counts, chunk, random) @ values / len(gap) for chunk, random in _chunks(len(values), resamples, seed)
    ]
    return _comparison(metric, float(np.mean(first)), float(np.mean(second)), np.concatenate(drawn), level)


def compare_classes(
    metric: str,
    labels: IntArray,
    first: IntArray,
    second: IntArray,
    classes: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """A classification's metric: `accuracy`, `f1` or `matthews`, as `classification_metrics` has them.

    Args:
        metric: its name.
        labels: class numbers, [examples].
        first, second: predicted class numbers of both models, [examples].
        classes: number of classes.
        resamples, seed, level: as of `compare_scores`.

    Raises:
        ConfigurationError: an unknown metric; also as `compare_scores`.
        DataError: as `compare_scores`.
    """
    _check(len(first), len(second), resamples, level)
    _check(len(labels), len(first), resamples, level)
    if metric not in _FROM_COUNTS:
        raise ConfigurationError(f"metric is {metric!r}; allowed: {', '.join(_FROM_COUNTS)}")
    measure = _FROM_COUNTS[metric]
    cells, counts = np.unique((labels * classes + first) * classes + second, return_counts=True)
    truth, one, two = cells // classes**2, cells // classes % classes, cells % classes
    of_first = _one_hot(truth * classes + one, classes**2)
    of_second = _one_hot(truth * classes + two, classes**2)

    def both(drawn: FloatArray) -> tuple[FloatArray, FloatArray]:
        shape = (len(drawn), classes, classes)
        return measure((drawn @ of_first).reshape(shape)), measure((drawn @ of_second).reshape(shape))

    drawn = [
        np.subtract(*both(_draw(counts, chunk, random))[::-1]) for chunk, random in _chunks(len(cells), resamples, seed)
    ]
    value = both(counts[None, :].astype(np.float64))
    return _comparison(metric, float(value[0][0]), float(value[1][0]), np.concatenate(drawn), level)


def compare_numbers(
    metric: str,
    labels: FloatArray,
    first: FloatArray,
    second: FloatArray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """A regression's metric: `pearson`, `spearman` or `mse`, as `regression_metrics` has them.

    Args:
        metric: its name.
        labels: numbers, [examples].
        first, second: predicted numbers of both models, [examples].
        resamples, seed, level: as of `compare_scores`.

    Raises:
        ConfigurationError: an unknown metric; also as `compare_scores`.
        DataError: as `compare_scores`.
    """
    from scipy.stats import rankdata

    _check(len(first), len(second), resamples, level)
    _check(len(labels), len(first), resamples, level)
    measures: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
        "pearson": _pearson,
        "spearman": lambda x, y: _pearson(rankdata(x, axis=1), rankdata(y, axis=1)),
        "mse": lambda x, y: np.mean((x - y) ** 2, axis=1),
    }
    if metric not in measures:
        raise ConfigurationError(f"metric is {metric!r}; allowed: {', '.join(measures)}")
    measure = measures[metric]
    truth, one, two = (np.asarray(values, dtype=np.float64) for values in (labels, first, second))
    drawn = []
    for chunk, random in _chunks(len(truth), resamples, seed):
        picked = random.integers(0, len(truth), size=(chunk, len(truth)))
        drawn.append(measure(two[picked], truth[picked]) - measure(one[picked], truth[picked]))
    values = [float(measure(predicted[None, :], truth[None, :])[0]) for predicted in (one, two)]
    return _comparison(metric, values[0], values[1], np.concatenate(drawn), level)


def _check(first: int, second: int, resamples: int, level: float) -> None:
    if first != second or first == 0:
        raise DataError(f"{first} and {second} predictions can't be compared; both models need the same examples")
    if resamples < 1 or not 0.0 < level < 1.0:
        raise ConfigurationError(
            f"resamples is {resamples} and level is {level}; allowed: at least 1 resample, a level between 0 and 1"
        )


def _chunks(width: int, resamples: int, seed: int) -> Iterator[tuple[int, np.random.Generator]]:
    """How many resamples to draw at a time, and from what."""
    random = np.random.default_rng(seed)
    size = max(1, _CHUNK // max(1, width))
    for begin in range(0, resamples, size):
        yield min(size, resamples - begin), random


def _draw(counts: npt.NDArray[np.int64], resamples: int, random: np.random.Generator) -> FloatArray:
    """Counts of each kind of example in resamples of as many examples, [resamples, kinds]."""
    total = int(counts.sum())
    return random.multinomial(total, counts / total, size=resamples).astype(np.float64)


def _one_hot(indices: npt.NDArray[np.int64], width: int) -> FloatArray:
    matrix = np.zeros((len(indices), width))
    matrix[np.arange(len(indices)), indices] = 1.0
    return matrix


def _comparison(metric: str, first: float, second: float, drawn: FloatArray, level: float) -> Comparison:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Comparison(metric, first, second, second - first, float(low), float(high), level, len(drawn))


def _accuracy(confusion: FloatArray) -> FloatArray:
    """From [resamples, truth, predicted]."""
    return np.asarray(np.trace(confusion, axis1=1, axis2=2) / confusion.sum(axis=(1, 2)))


def _f1(confusion: FloatArray) -> FloatArray:
    """Of class 1 where there are two, else the mean over classes that are present or predicted."""
    right = np.diagonal(confusion, axis1=1, axis2=2)
    sums = confusion.sum(axis=1) + confusion.sum(axis=2)
    scores = np.divide(2 * right, sums, out=np.zeros_like(sums), where=sums > 0)
    if confusion.shape[1] <= 2:
        return np.asarray(scores[:, -1])
    return np.asarray(scores.sum(axis=1) / np.maximum(1, (sums > 0).sum(axis=1)))


def _matthews(confusion: FloatArray) -> FloatArray:
    """Gorodkin's form for any number of classes; 0 where it is undefined."""
    total = confusion.sum(axis=(1, 2))
    right = np.trace(confusion, axis1=1, axis2=2)
    true, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    above = right * total - (true * predicted).sum(axis=1)
    below = np.sqrt((total**2 - (predicted**2).sum(axis=1)) * (total**2 - (true**2).sum(axis=1)))
    return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below > 0))


def _pearson(x: FloatArray, y: FloatArray) -> FloatArray:
    """Row by row; 0 where one side is constant."""
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    below = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.asarray(np.divide((x * y).sum(axis=1), below, out=np.zeros_like(below), where=below > 0))


_FROM_COUNTS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews": _matthews,
}
