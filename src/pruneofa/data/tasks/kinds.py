"""What kind of task a training split makes, and which of its rows have a label to learn from."""

import math
from collections import Counter

from pruneofa.data.metrics.task_metrics import TaskKind
from pruneofa.data.sources.rows import Row
from pruneofa.data.tasks.columns import columns_of, label_of
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.labels import NO_LABEL, LabelSet
from pruneofa.errors import DataError

__all__ = ["kind_of_rows", "labelled_rows"]


def kind_of_rows(config: TaskConfig, rows: list[Row]) -> TaskKind:
    """What kind of task the training rows make, where the recipe leaves it open.

    Question answering where there are the columns question, context and answers; regression where every label is a
    number and one of them is not whole; classification else. Rows without a label say nothing.

    Raises:
        DataError: one label is no number, while another is a number with a fraction or, in a file that tells numbers
            from texts, a number: a slip in a regression's numbers must not make classes of them.
    """
    if config.kind != "auto":
        return config.kind
    if {"question", "context", "answers"} <= rows[0].keys():
        return "question_answering"
    if config.label_names is not None:
        return "classification"
    columns = columns_of(config, rows[0])
    labelled = [row for row in rows if label_of(row, columns) is not None]
    numbers = [_number(row[columns.label]) for row in labelled]
    found = [(row, number) for row, number in zip(labelled, numbers, strict=True) if number is not None]
    fraction = next((row for row, number in found if not number.is_integer()), None)
    measured = fraction or next((row for row, _ in found if not isinstance(row[columns.label], str)), None)
    odd = next((row for row, number in zip(labelled, numbers, strict=True) if number is None), None)
    if measured is not None and odd is not None:
        raise DataError(
            f"{odd.origin}: column {columns.label!r} holds {str(odd[columns.label])[:40]!r}, no number, while "
            f"{measured.origin} has {measured[columns.label]!r}; correct the row, or set task.kind to "
            "classification or regression"
        )
    return "classification" if fraction is None else "regression"


def labelled_rows(rows: list[Row], config: TaskConfig, kind: TaskKind) -> tuple[list[Row], Counter[str]]:
    """The training rows that have a label to learn from, and how many were left out by reason.

    A null, NaN or empty cell is no label; -1 among classes is none either, but where it is a class by name or one of
    two.

    Raises:
        DataError: no row has a label; -1 stands beside 0 and 1 alone, so that it may be either.
    """
    if kind == "question_answering":
        return rows, Counter()
    columns = columns_of(config, rows[0])
    labels = [label_of(row, columns) for row in rows]
    withheld = kind == "classification" and NO_LABEL in labels and _is_withheld(labels, config, columns.label)
    reasons = ["no label" if text is None else "label -1" if withheld and text == NO_LABEL else "" for text in labels]
    kept = [row for row, reason in zip(rows, reasons, strict=True) if not reason]
    if not kept:
        raise DataError(
            f"{config.train!r}: no row has a label in column {columns.label!r}; name another with label_column, or "
            "give another source"
        )
    return kept, Counter(reason for reason in reasons if reason)


def _is_withheld(labels: list[str | None], config: TaskConfig, column: str) -> bool:
    """Whether -1 means "no label" among these classes."""
    if config.label_names is not None:
        return LabelSet.of_task(config.label_names, listed_by_task=True).row(NO_LABEL) is None
    others = {label for label in labels if label is not None} - {NO_LABEL}
    if len(others) < 2 or any(label.startswith("-") and label[1:].isdecimal() for label in others):
        return False  # one of two classes, or one of several below zero
    if others == {"0", "1"}:
        raise DataError(
            f"{config.train!r}: column {column!r} holds -1 in {labels.count(NO_LABEL):,} rows beside 0 and 1: it may "
            'be a third class or mean "no label"; set task.label_names to ["-1", "0", "1"] for the one, '
            'task.drop_labels to ["-1"] for the other'
        )
    return True


def _number(value: object) -> float | None:
    """A finite number, written as one or in text."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number raises
    except (ValueError, OverflowError, TypeError):
        return None
    return number if math.isfinite(number) else None
