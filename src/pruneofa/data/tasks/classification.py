"""Classification and regression: texts or pairs of texts with a label or a number each, ready for training."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pruneofa.data.sources.rows import Row, column_value, text_value
from pruneofa.data.tasks.columns import columns_of, label_of
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.encoded import UNLABELLED, EncodedDataset, Texts, encode_texts
from pruneofa.data.tasks.labels import NO_LABEL, LabelSet, label_text, listed, ordered_labels
from pruneofa.data.tasks.presets import Columns
from pruneofa.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# So many different labels are taken for labels however few examples there are.
_FEW_LABELS = 20

__all__ = [
    "check_labelled",
    "checked_label",
    "checked_number",
    "class_names",
    "class_of_label",
    "encode_classes",
    "encode_numbers",
    "seen_labels",
    "split_statistics",
    "task_labels",
    "unseen_label",
]


def class_names(train: list[Row], config: TaskConfig) -> list[str]:
    """The labels in class order: those that are named, else those of training.

    Args:
        train: rows with a label (see `pruneofa.data.tasks.rows.labelled_rows`).
        config: the task.

    Raises:
        DataError: training has fewer than two labels, or more than half as many as examples and none is named.
    """
    columns = columns_of(config, train[0])
    texts = [checked_label(row, config) for row in train]
    if config.label_names is None:
        seen = ordered_labels(text for text in texts if text is not None)
        remedy = f"a classification needs at least two labels: check label_column ({columns.label!r}) and the source"
    else:
        labels = task_labels(config.label_names, config)
        rows = {_class_of(row, text, labels) for row, text in zip(train, texts, strict=True) if text is not None}
        seen = [config.label_names[number] for number in sorted(rows)]
        remedy = f"of {', '.join(config.label_names)}"
    if len(seen) < 2:
        found = repr(seen[0]) if seen else "that is none"
        raise DataError(f"{config.train!r}: every training example has the label {found}; {remedy}")
    if config.label_names is None and len(seen) > max(_FEW_LABELS, len(train) / 2):
        raise DataError(
            f"{config.train!r}: column {columns.label!r} has {len(seen):,} different labels in {len(train):,} examples "
            f"({listed(seen[:3])}, ...), so it is hardly one of labels; name another with label_column, set task.kind "
            "to regression for numbers, or list the labels in task.label_names"
        )
    return seen if config.label_names is None else list(config.label_names)


def task_labels(names: Sequence[str], config: TaskConfig) -> LabelSet:
    """The labels of a task that is trained on."""
    return LabelSet.of_task(names, listed_by_task=config.label_names is not None)


def encode_classes(
    rows: list[Row],
    labels: LabelSet,
    tokenizer: "PreTrainedTokenizerBase",
    config: TaskConfig,
    known: Sequence[str] | None = None,
) -> EncodedDataset:
    """Tokenise the rows of one split, labels as class numbers; -1 where a row has no label.

    Args:
        rows: of one source.
        labels: what a label in a row stands for.
        tokenizer: the model's.
        config: the task.
        known: labels that occur in training; another one is an error, since no model can have learned it.

    Raises:
        DataError: a missing column; a label that stands for none of `labels`, or is not known.
    """
    columns = columns_of(config, rows[0])
    numbers = []
    for row in rows:
        text = label_of(row, columns)
        number = UNLABELLED if text is None else _class_of(row, text, labels)
        if known is not None and number != UNLABELLED and labels.names[number] not in known:
            raise unseen_label(row, str(text), known)
        numbers.append(number)
    return encode_texts(_texts(rows, columns, config), np.array(numbers, dtype=np.int64), tokenizer, config.max_length)


def unseen_label(row: Row, label: str, known: Sequence[str]) -> DataError:
    """What to raise for a label that only the evaluation data has."""
    return DataError(
        f"{row.origin}: the label {label!r} of the evaluation data does not occur in training "
        f"(there: {listed(known)}); correct the row or add training examples"
    )


def check_labelled(split: str, labelled: int) -> None:
    """Refuse a split that a run is to report on, and that has no label to judge by.

    Raises:
        DataError: it has none.
    """
    if not labelled:
        raise DataError(
            f"task.{split}: no row has a label, so nothing can be reported on it; give labels, or leave it to "
            "`pruneofa evaluate`, which predicts without"
        )


def class_of_label(row: Row, config: TaskConfig, labels: LabelSet) -> int:
    """The class of a row that has its texts too; -1 where it has no label.

    Raises:
        DataError: a text is missing, or the label stands for none of `labels`.
    """
    text = checked_label(row, config)
    return UNLABELLED if text is None else _class_of(row, text, labels)


def _class_of(row: Row, label: str, labels: LabelSet) -> int:
    number = labels.row(label)
    if number is None and label != NO_LABEL:
        raise DataError(
            f"{row.origin}: the label {label!r} is not among {labels.whose} ({listed(labels.names)}); "
            f"{labels.remedy(label)}"
        )
    return UNLABELLED if number is None else number


def encode_numbers(rows: list[Row], tokenizer: "PreTrainedTokenizerBase", config: TaskConfig) -> EncodedDataset:
    """Tokenise the rows of one split, labels as numbers (float32); NaN where a row has none.

    A split in which every label is -1 has none.

    Raises:
        DataError: a missing column; a label that is no finite number.
    """
    columns = columns_of(config, rows[0])
    labels = np.array([_number_of(row, columns) for row in rows], dtype=np.float32)
    if (labels == float(NO_LABEL)).all():  # as in GLUE's test sets; nothing is lost, a constant correlates with nothing
        labels[:] = np.nan
    return encode_texts(_texts(rows, columns, config), labels, tokenizer, config.max_length)


def checked_label(row: Row, config: TaskConfig) -> str | None:
    """The label of a row that has its texts too; None where it has none.

    Raises:
        DataError: a text or the column of the label is missing.
    """
    columns = columns_of(config, row)
    _text(row, columns, config)
    return label_of(row, columns)


def checked_number(row: Row, config: TaskConfig) -> float:
    """The number of a row that has its texts too; NaN where it has none.

    Raises:
        DataError: a text or the column of the number is missing, or it holds what is no number.
    """
    columns = columns_of(config, row)
    _text(row, columns, config)
    return _number_of(row, columns)


def split_statistics(split: EncodedDataset, label_names: Sequence[str] | None) -> dict[str, Any]:
    """Figures of a tokenised split: examples, those cut or unlabelled, mean and longest length in tokens, labels."""
    found: dict[str, Any] = {
        "examples": len(split),
        "truncated": split.truncated,
        "mean_length": float(split.lengths.mean()),
        "longest": int(split.lengths.max()),
    }
    labels = split.labels[split.labelled]
    if len(labels) < len(split):
        found["unlabelled"] = len(split) - len(labels)
    if label_names is not None:
        counts = np.bincount(labels, minlength=len(label_names))
        found["labels"] = {name: int(count) for name, count in zip(label_names, counts, strict=True)}
    elif len(labels):
        found["labels"] = {"mean": float(labels.mean()), "standard_deviation": float(labels.std())}
    return found


def seen_labels(split: EncodedDataset, names: Sequence[str]) -> list[str]:
    """The labels that occur in a split, in class order."""
    return [names[number] for number in np.unique(split.labels[split.labelled])]


def _number_of(row: Row, columns: Columns) -> float:
    value = column_value(row, columns.label)
    try:
        text = label_text(value)
        if text is None:
            return math.nan
        number = float(text)
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
