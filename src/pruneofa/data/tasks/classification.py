"""Classification and regression: texts or pairs of texts with a label or a number each, ready for training."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pruneofa.data.sources.rows import Row, column_value, text_value
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.encoded import EncodedDataset, Texts, encode_texts
from pruneofa.data.tasks.presets import Columns
from pruneofa.data.tasks.rows import columns_of
from pruneofa.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# So many different labels are taken for labels however few examples there are.
_FEW_LABELS = 20

__all__ = [
    "checked_label",
    "checked_number",
    "class_names",
    "encode_classes",
    "encode_numbers",
    "seen_labels",
    "split_statistics",
]


def class_names(train: list[Row], config: TaskConfig) -> list[str]:
    """The labels in class order: those that are named, else those of training.

    Raises:
        DataError: training has fewer than two labels, or more than half as many as examples and none is named.
    """
    columns = columns_of(config, train[0])
    seen = _label_order({checked_label(row, config) for row in train})
    if len(seen) < 2:
        remedy = (
            f"a classification needs at least two labels: check label_column ({columns.label!r}) and the source"
            if config.label_names is None
            else f"of {', '.join(config.label_names)}"
        )
        raise DataError(f"{config.train!r}: every training example has the label {seen[0]!r}; {remedy}")
    if config.label_names is None and len(seen) > max(_FEW_LABELS, len(train) / 2):
        raise DataError(
            f"{config.train!r}: column {columns.label!r} has {len(seen):,} different labels in {len(train):,} examples "
            f"({_listed(seen[:3])}, ...), so it is hardly one of labels; name another with label_column, set task.kind "
            "to regression for numbers, or list the labels in task.label_names"
        )
    return seen if config.label_names is None else list(config.label_names)


def encode_classes(
    rows: list[Row],
    names: Sequence[str],
    meaning: str,
    tokenizer: "PreTrainedTokenizerBase",
    config: TaskConfig,
    known: Sequence[str] | None = None,
) -> EncodedDataset:
    """Tokenise the rows of one split, labels as class numbers.

    Args:
        rows: of one source.
        names: the labels in class order; a label written as the number of a class stands for its name, unless the
            names are numbers themselves.
        meaning: whose labels `names` are, for the error.
        tokenizer: the model's.
        config: the task.
        known: labels that occur in training; another one is an error, since no model can have learned it.

    Raises:
        DataError: a missing column or label; a label that is not among the names, or not known.
    """
    columns = columns_of(config, rows[0])
    classes = {name: number for number, name in enumerate(names)}
    numbers = []
    for row in rows:
        label = _named(_label(row, columns), names)
        if known is not None and label not in known:
            raise DataError(
                f"{row.origin}: the label {label!r} of the evaluation data does not occur in training "
                f"(there: {_listed(known)}); correct the row or add training examples"
            )
        if label not in classes:
            raise DataError(
                f"{row.origin}: the label {label!r} is not among {meaning} ({_listed(names)}); "
                f"correct the row or the list"
            )
        numbers.append(classes[label])
    return encode_texts(_texts(rows, columns, config), np.array(numbers, dtype=np.int64), tokenizer, config.max_length)


def encode_numbers(rows: list[Row], tokenizer: "PreTrainedTokenizerBase", config: TaskConfig) -> EncodedDataset:
    """Tokenise the rows of one split, labels as numbers (float32).

    Raises:
        DataError: a missing column; a label that is no finite number.
    """
    columns = columns_of(config, rows[0])
    labels = np.array([_number_of(row, columns) for row in rows], dtype=np.float32)
    return encode_texts(_texts(rows, columns, config), labels, tokenizer, config.max_length)


def _label(row: Row, columns: Columns) -> str:
    """The label in a row: a text, or a whole number as text."""
    value = column_value(row, columns.label)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or isinstance(value, float | list | dict) or not (label := str(value).strip()):
        raise DataError(
            f"{row.origin}: no label: column {columns.label!r} holds {str(value)[:40]!r}; "
            f"give each row a text or a whole number, or take the row out"
        )
    return label


def checked_label(row: Row, config: TaskConfig) -> str:
    """The label of a row that has its texts too; a number that stands for a named class as its name.

    Raises:
        DataError: a text or the label is missing.
    """
    columns = columns_of(config, row)
    _text(row, columns, config)
    return _named(_label(row, columns), config.label_names)


def checked_number(row: Row, config: TaskConfig) -> float:
    """The number of a row that has its texts too.

    Raises:
        DataError: a text or the number is missing.
    """
    columns = columns_of(config, row)
    _text(row, columns, config)
    return _number_of(row, columns)


def split_statistics(split: EncodedDataset, label_names: Sequence[str] | None) -> dict[str, Any]:
    """Figures of a tokenised split: examples, truncated, mean and longest length in tokens, and labels."""
    found: dict[str, Any] = {
        "examples": len(split),
        "truncated": split.truncated,
        "mean_length": float(split.lengths.mean()),
        "longest": int(split.lengths.max()),
    }
    if label_names is None:
        found["labels"] = {"mean": float(split.labels.mean()), "standard_deviation": float(split.labels.std())}
    else:
        counts = np.bincount(split.labels, minlength=len(label_names))
        found["labels"] = {name: int(count) for name, count in zip(label_names, counts, strict=True)}
    return found


def seen_labels(split: EncodedDataset, names: Sequence[str]) -> list[str]:
    """The labels that occur in a split, in class order."""
    return [names[number] for number in np.unique(split.labels)]


def _number_of(row: Row, columns: Columns) -> float:
    value = column_value(row, columns.label)
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
    except (ValueError, OverflowError):
        raise DataError(
            f"{row.origin}: column {columns.label!r} holds {str(value)[:40]!r}, no finite number, but the task is "
            f"regression; correct the row, or set task.kind to classification"
        ) from None
    return number


def _texts(rows: list[Row], columns: Columns, config: TaskConfig) -> Texts:
    return [_text(row, columns, config) for row in rows]  # type: ignore[return-value]  # all texts or all pairs


def _text(row: Row, columns: Columns, config: TaskConfig) -> str | tuple[str, str]:
    first = _cleaned(text_value(row, columns.text), config)
    return first if columns.pair is None else (first, _cleaned(text_value(row, columns.pair), config))


def _cleaned(text: str, config: TaskConfig) -> str:
    if not config.strip_full_stop:
        return text
    bare = text.rstrip()
    return bare[:-1].rstrip() if bare.endswith(".") and not bare.endswith("..") else bare


def _named(label: str, names: Sequence[str] | None) -> str:
    """The name of a class that is written by its number, as GLUE's files and the hub have it."""
    if names is None or label in names or not (label.isascii() and label.isdecimal()):
        return label
    return names[int(label)] if int(label) < len(names) else label


def _label_order(labels: set[str]) -> list[str]:
    """Whole numbers by value ("2" before "10"), else by alphabet."""
    if all(label.removeprefix("-").isdecimal() for label in labels):
        return sorted(labels, key=int)
    return sorted(labels)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
