"""Two evaluations side by side: how far the models are apart, how sure that is, and where they disagree."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from pruneofa.data.metrics.comparison import Comparison, compare_classes, compare_numbers, compare_scores
from pruneofa.data.metrics.task_metrics import METRICS
from pruneofa.errors import DataError, PruneofaError

PREDICTIONS_NAME = "predictions.json"
PREDICTIONS_VERSION = 1
"""Version of the layout of a file of predictions."""

_MAX_BYTES = 2**30
# What an example's record says of the example, not of the model.
_GIVEN = ("id", "question", "text", "label", "answers")
_Pair = tuple[dict[str, Any], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class SplitComparison:
    """Two models on one split.

    Attributes:
        split: its name; "evaluation" is the one that results are reported on.
        examples: how many there are.
        metrics: each metric that both files report, compared.
        counts: how many examples `both` have right, `neither`, only the `first`, only the `second`; in question
            answering by exact match. Empty for a regression.
        disagreements: the examples in which the two differ, with both predictions; where only one of them is right
            first, in a regression the farthest apart first.
    """

    split: str
    examples: int
    metrics: list[Comparison]
    counts: dict[str, int]
    disagreements: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


def compare(first: str, second: str, *, resamples: int = 10_000, seed: int = 0) -> list[SplitComparison]:
    """Compare two evaluations on every split that both have.

    Args:
        first, second: a file of predictions, or the folder of an evaluation.
        resamples: of the bootstrap.
        seed: decides them.

    Raises:
        DataError: a file is missing or no file of predictions, or the two have different examples.
    """
    one, two = _documents(first), _documents(second)
    shared = [split for split in one if split in two]
    if not shared:
        raise DataError(f"{first!r} has the splits {', '.join(one)}, {second!r} {', '.join(two)}; none is in both")
    return [_compare_split(split, one[split], two[split], (first, second), resamples, seed) for split in shared]


def _compare_split(
    split: str, one: dict[str, Any], two: dict[str, Any], names: tuple[str, str], resamples: int, seed: int
) -> SplitComparison:
    _check_same(one, two, names)
    examples = list(zip(one["examples"], two["examples"], strict=True))
    known = (*METRICS[one["kind"]], "mse")
    metrics = [name for name in one["metrics"] if name in two["metrics"] and name in known]
    judged = [pair for pair in examples if pair[0].get("label", "") is not None]  # None: nobody has said what is right
    try:
        compared, right = _compared(one, judged, metrics, resamples, seed)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, PruneofaError):
            raise
        raise DataError(
            f"{names[0]!r} or {names[1]!r} has an example without what a {one['kind']} has ({error!r}); evaluate again"
        ) from error
    counts = {
        "both": right.count((True, True)),
        "neither": right.count((False, False)),
        "first": right.count((True, False)),
        "second": right.count((False, True)),
    }
    verdicts = iter(right)
    beside = [next(verdicts) if right and pair[0].get("label", "") is not None else None for pair in examples]
    return SplitComparison(split, len(examples), compared, counts if right else {}, _disagreements(examples, beside))


def _compared(
    document: dict[str, Any], examples: list[_Pair], metrics: list[str], resamples: int, seed: int
) -> tuple[list[Comparison], list[tuple[bool, bool]]]:
    """Each metric compared, and for each example which of the two is right (not for a regression)."""

    def column(side: int, key: str) -> Any:
        return [pair[side][key] for pair in examples]

    kind = document["kind"]
    if kind == "question_answering":
        scores = {name: [np.array(column(side, name), dtype=np.float64) for side in (0, 1)] for name in metrics}
        right = [
            (bool(one), bool(two)) for one, two in zip(column(0, "exact_match"), column(1, "exact_match"), strict=True)
        ]
        return [compare_scores(name, *scores[name], resamples=resamples, seed=seed) for name in metrics], right
    sides = column(0, "label"), column(0, "prediction"), column(1, "prediction")
    if kind == "regression":
        truth, one, two = (np.array(side, dtype=np.float64) for side in sides)
        return [compare_numbers(name, truth, one, two, resamples=resamples, seed=seed) for name in metrics], []
    classes = {name: number for number, name in enumerate(document["label_names"])}
    right = [(one == label, two == label) for label, one, two in zip(*sides, strict=True)]
    labels, first, second = (np.array([classes[name] for name in side], dtype=np.int64) for side in sides)
    return [
        compare_classes(name, labels, first, second, len(classes), resamples=resamples, seed=seed) for name in metrics
    ], right


def _disagreements(examples: list[_Pair], right: list[tuple[bool, bool] | None]) -> list[dict[str, Any]]:
    """Entries of the examples whose predictions differ, those that tell most first."""
    found = []
    for number, (one, two) in enumerate(examples):
        if one["prediction"] == two["prediction"]:
            continue
        entry = {key: one[key] for key in _GIVEN if key in one}
        entry |= {"example": number, "first": one["prediction"], "second": two["prediction"]}
        if (verdict := right[number]) is not None:
            rank = float(verdict[0] == verdict[1])
        else:
            numbers = not isinstance(one["prediction"], str)
            rank = -abs(one["prediction"] - two["prediction"]) if numbers else 1.0
        found.append((rank, number, entry))
    return [entry for _, _, entry in sorted(found, key=lambda item: item[:2])]


def _check_same(one: dict[str, Any], two: dict[str, Any], names: tuple[str, str]) -> None:
    for key in ("task", "kind"):
        if one[key] != two[key]:
            raise DataError(
                f"{names[0]!r} has the {key} {one[key]!r}, {names[1]!r} {two[key]!r}; both must be of one task"
            )
    if sorted(one["label_names"] or []) != sorted(two["label_names"] or []):
        raise DataError(f"{names[0]!r} and {names[1]!r} have different labels; both must be of one task")
    if len(one["examples"]) != len(two["examples"]):
        raise DataError(
            f"{names[0]!r} has {len(one['examples'])} examples, {names[1]!r} {len(two['examples'])}; evaluate both on "
            "the same data"
        )
    for number, (first, second) in enumerate(zip(one["examples"], two["examples"], strict=True)):
        if any(first.get(key) != second.get(key) for key in _GIVEN):
            raise DataError(f"example {number} of {names[0]!r} and {names[1]!r} differ; evaluate both on the same data")


def _documents(path: str) -> dict[str, dict[str, Any]]:
    """Split -> document, of one file or of the files of a folder."""
    place = Path(path)
    stem = Path(PREDICTIONS_NAME).stem
    files = sorted(place.glob(f"{stem}*.json"), key=lambda file: (file.name != PREDICTIONS_NAME, file.name))
    if place.is_dir() and not files:
        raise DataError(f"{path!r} holds no {PREDICTIONS_NAME}; give the --output_dir of `pruneofa evaluate`")
    documents = {}
    for file in files if place.is_dir() else [place]:
        document = _document(file)
        if document["split"] in documents:
            raise DataError(f"{path!r} holds predictions of several models; name one of its files")
        documents[document["split"]] = document
    return documents


def _document(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise DataError(f"{file}: more than {_MAX_BYTES:,} bytes; no file of predictions")
        document = json.loads(file.read_text(encoding="utf-8"))
        fields = {"format_version": int, "task": str, "split": str, "kind": str, "metrics": dict, "examples": list}
        for key, kind in fields.items():
            if not isinstance(document[key], kind):
                raise TypeError(f"{key} is no {kind.__name__}")
        if document["format_version"] != PREDICTIONS_VERSION or document["kind"] not in METRICS:
            raise ValueError(f"version {document['format_version']}, kind {document['kind']!r}")
        if document["label_names"] is None and document["kind"] == "classification":
            raise ValueError("no label_names")
        if not all(isinstance(row, dict) and "prediction" in row for row in document["examples"]):
            raise TypeError("an example has no prediction")
    except DataError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{file}: no file of predictions that `pruneofa evaluate` wrote ({error})") from error
    return dict(document)
