"""Classification tasks: texts or pairs of texts with a label each, from any source, ready for training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from pruneofa.data.encoded import EncodedDataset, Texts, encode_texts
from pruneofa.data.metrics import ClassificationMetric
from pruneofa.data.rows import Row, column_value, text_value
from pruneofa.data.sources import read_rows
from pruneofa.data.tokenization import check_max_length
from pruneofa.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["ClassificationData", "TaskConfig", "label_value", "load_classification", "load_split"]


class TaskConfig(BaseModel):
    """Where a classification task's data is and what its columns mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task_name: str = Field(default="classification", min_length=1, description="Name in reports and folders")
    train: str | list[str] = Field(min_length=1, description="Source of the training examples")
    evaluation: str | list[str] = Field(min_length=1, description="Source of the examples that results are reported on")
    text_column: str = Field(default="text", min_length=1, description="Column of the text, or a pair's first text")
    text_pair_column: str | None = Field(default=None, min_length=1, description="Column of a pair's second text")
    label_column: str = Field(default="label", min_length=1, description="Column of the label")
    label_names: list[str] | None = Field(
        default=None, min_length=2, description="The labels in class order; default: those of training, sorted"
    )
    max_length: int = Field(default=128, ge=8, description="Longest example in tokens; longer ones are cut")
    metric: ClassificationMetric = Field(default="accuracy", description="Metric that the task is judged by")

    @field_validator("label_names")
    @classmethod
    def _distinct(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and len(set(value)) < len(value):
            doubles = sorted({name for name in value if value.count(name) > 1})
            raise ValueError(f"names a label twice: {', '.join(doubles)}; each label must stand once")
        return value


@dataclass(frozen=True)
class ClassificationData:
    """A task's data.

    Attributes:
        train, evaluation: the tokenised splits.
        label_names: the label of each class number.
        statistics: for each split `examples`, `truncated`, `mean_length` (tokens), `longest`, and `labels` (examples by
            label).
    """

    train: EncodedDataset
    evaluation: EncodedDataset
    label_names: list[str]
    statistics: dict[str, Any]


def load_classification(
    config: TaskConfig, tokenizer: "PreTrainedTokenizerBase", model_max_length: int | None = None
) -> ClassificationData:
    """Read, check and tokenise both splits of a task.

    Args:
        config: the task.
        tokenizer: the model's tokenizer.
        model_max_length: longest sequence that the model takes, in tokens.

    Raises:
        DataError: `max_length` over the model's limit; a faulty or empty source; a missing column or label; fewer than
            two classes in training; a label in evaluation that training does not have.
    """
    check_max_length(config.max_length, model_max_length)
    rows = _read(config.train, config)
    seen = _label_order({label for _, label, _ in rows})
    if config.label_names is None and len(seen) < 2:
        raise DataError(
            f"{config.train!r}: every training example has the label {seen[0]!r}; a classification needs at least two "
            f"labels: check label_column ({config.label_column!r}) and the source"
        )
    names = seen if config.label_names is None else config.label_names
    train = _encode(rows, names, "label_names", tokenizer, config)
    if len(seen) < 2:
        raise DataError(f"{config.train!r}: every training example has the label {seen[0]!r} of {', '.join(names)}")
    rows = _read(config.evaluation, config)
    for _, label, origin in rows:
        if label not in seen:
            raise DataError(
                f"{origin}: the label {label!r} of the evaluation data does not occur in training "
                f"(there: {_listed(seen)}); correct the row or add training examples"
            )
    evaluation = _encode(rows, names, "the training data", tokenizer, config)
    statistics = {"train": _statistics(train, names), "evaluation": _statistics(evaluation, names)}
    return ClassificationData(train, evaluation, list(names), statistics)


def load_split(
    source: str | list[str],
    config: TaskConfig,
    tokenizer: "PreTrainedTokenizerBase",
    label_names: Sequence[str],
    model_max_length: int | None = None,
) -> EncodedDataset:
    """Read, check and tokenise one split, with a trained model's labels in class order.

    Raises:
        DataError: as `load_classification`; a label that is not among `label_names`.
    """
    check_max_length(config.max_length, model_max_length)
    return _encode(_read(source, config), label_names, "the model's labels", tokenizer, config)


_Example = tuple[str | tuple[str, str], str, str]  # text or pair, label, origin


def _read(source: str | list[str], config: TaskConfig) -> list[_Example]:
    examples = [(_texts(row, config), label_value(row, config), row.origin) for row in read_rows(source)]
    if not examples:
        raise DataError(f"the source {source!r} holds no example; check it")
    return examples


def _texts(row: Row, config: TaskConfig) -> str | tuple[str, str]:
    first = text_value(row, config.text_column)
    return first if config.text_pair_column is None else (first, text_value(row, config.text_pair_column))


def label_value(row: Row, config: TaskConfig) -> str:
    """The label in a row: a text, or a whole number as text.

    Raises:
        DataError: no such column, or no label in it.
    """
    value = column_value(row, config.label_column)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or isinstance(value, float | list | dict) or not (label := str(value).strip()):
        raise DataError(
            f"{row.origin}: no label: column {config.label_column!r} holds {str(value)[:40]!r}; "
            f"give each row a text or a whole number, or take the row out"
        )
    return label


def _label_order(labels: set[str]) -> list[str]:
    """Whole numbers by value ("2" before "10"), else by alphabet."""
    if all(label.removeprefix("-").isdecimal() for label in labels):
        return sorted(labels, key=int)
    return sorted(labels)


def _encode(
    rows: list[_Example],
    label_names: Sequence[str],
    meaning: str,
    tokenizer: "PreTrainedTokenizerBase",
    config: TaskConfig,
) -> EncodedDataset:
    classes = {name: number for number, name in enumerate(label_names)}
    for _, label, origin in rows:
        if label not in classes:
            raise DataError(
                f"{origin}: the label {label!r} is not among {meaning} ({_listed(label_names)}); "
                f"correct the row or the list"
            )
    texts: Texts = [text for text, _, _ in rows]  # type: ignore[assignment]  # all texts or all pairs
    return encode_texts(texts, [classes[label] for _, label, _ in rows], tokenizer, config.max_length)


def _statistics(split: EncodedDataset, label_names: Sequence[str]) -> dict[str, Any]:
    counts = np.bincount(split.labels, minlength=len(label_names))
    return {
        "examples": len(split),
        "truncated": split.truncated,
        "mean_length": float(split.lengths.mean()),
        "longest": int(split.lengths.max()),
        "labels": {name: int(count) for name, count in zip(label_names, counts, strict=True)},
    }


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
