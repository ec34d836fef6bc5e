"""Metrics of classification and regression, by scikit-learn and scipy, under the names that recipes use."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pruneofa.errors import ConfigurationError, DataError

__all__ = ["METRICS", "TaskKind", "classification_metrics", "regression_metrics"]

TaskKind = Literal["classification", "regression", "question_answering"]

METRICS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "classification": ("accuracy", "f1", "matthews"),
        "regression": ("pearson", "spearman"),
        "question_answering": ("exact_match", "f1"),
    }
)
"""Kind of task -> metrics that it can be judged by; higher is better for all of them."""


def classification_metrics(
    logits_or_predictions: npt.ArrayLike,
    labels: npt.ArrayLike,
    metric_names: str | Sequence[str] = ("accuracy",),
    label_count: int | None = None,
) -> dict[str, float]:
    """Compare predictions with labels.

    `accuracy` is the share of right predictions. `f1` is binary for two classes, with class 1 as the positive one (as
    GLUE has it for MRPC and QQP), and macro for more: the unweighted mean over the classes that are present or
    predicted; an undefined F1 counts 0. `matthews` is Matthews' correlation, as GLUE has it for CoLA.

    Args:
        logits_or_predictions: scores [examples, classes] (the largest wins) or class numbers [examples].
        labels: class numbers [examples].
        metric_names: one name or several.
        label_count: number of classes; else taken from the logits, or the largest class number seen.

    Raises:
        ConfigurationError: an unknown metric.
        DataError: shapes that don't match, no example, or logits that are not finite.
    """
    names = [metric_names] if isinstance(metric_names, str) else list(metric_names)
    known = METRICS["classification"]
    for name in names:
        if name not in known:
            raise ConfigurationError(f"unknown metric {name!r}; known: {', '.join(known)}")
    truth = np.asarray(labels)
    scores = np.asarray(logits_or_predictions)
    if truth.ndim != 1 or scores.ndim not in (1, 2) or len(scores) != len(truth) or not truth.size:
        raise DataError(
            f"predictions of shape {scores.shape} don't go with labels of shape {truth.shape}; "
            f"needed: [examples, classes] or [examples] beside [examples], with at least one example"
        )
    if scores.ndim == 2:
        _check_finite(scores)
        predictions = scores.argmax(axis=1)
        classes = label_count or scores.shape[1]
    else:
        predictions = scores
        classes = label_count or int(max(scores.max(), truth.max())) + 1
    return {name: _metric(name, truth, predictions, classes) for name in names}


def regression_metrics(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, float]:
    """Pearson's and Spearman's correlation, as GLUE has them for STS-B, and the mean squared error.

    A correlation with something constant is undefined; it counts 0.

    Args:
        predictions: numbers, [examples] or [examples, 1].
        labels: numbers, [examples].

    Raises:
        DataError: shapes that don't match, fewer than two examples, or numbers that are not finite.
    """
    from scipy.stats import pearsonr, spearmanr

    truth = np.asarray(labels, dtype=np.float64)
    found = np.asarray(predictions, dtype=np.float64)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if truth.ndim != 1 or found.shape != truth.shape or len(truth) < 2:
        raise DataError(
            f"predictions of shape {found.shape} don't go with labels of shape {truth.shape}; needed: "
            f"[examples] beside [examples], with at least two examples"
        )
    _check_finite(found)
    constant = bool((truth == truth[0]).all() or (found == found[0]).all())
    return {
        "pearson": 0.0 if constant else float(pearsonr(found, truth).statistic),
        "spearman": 0.0 if constant else float(spearmanr(found, truth).statistic),
        "mse": float(np.mean((found - truth) ** 2)),
    }


def _check_finite(scores: npt.NDArray[Any]) -> None:
    if not np.isfinite(scores).all():
        raise DataError("the logits hold NaN or infinity; the model has diverged: lower the learning rate")


def _metric(name: str, truth: npt.NDArray[Any], predictions: npt.NDArray[Any], classes: int) -> float:
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    if name == "accuracy":
        return float(accuracy_score(truth, predictions))
    if name == "matthews":
        return float(matthews_corrcoef(truth, predictions))
    if classes <= 2:
        return float(f1_score(truth, predictions, average="binary", pos_label=1, zero_division=0.0))
    return float(f1_score(truth, predictions, average="macro", zero_division=0.0))
