"""A task's rows, read and split: what is trained on, held out, and reported on; before any tokenizer."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

from pruneofa.data.metrics.task_metrics import TaskKind
from pruneofa.data.sources.reading import read_rows
from pruneofa.data.sources.rows import Row, column_value, text_value
from pruneofa.data.tasks.config import Source, TaskConfig
from pruneofa.data.tasks.left_out import is_question, usable_rows
from pruneofa.data.tasks.presets import PRESETS, Columns
from pruneofa.data.tasks.questions import check_question
from pruneofa.data.tasks.splitting import article_lists, hold_out
from pruneofa.errors import DataError

__all__ = ["EVALUATION", "TaskRows", "columns_of", "kind_of_rows", "read_evaluation_rows", "read_task_rows"]

logger = logging.getLogger(__name__)

EVALUATION = "evaluation"
"""Name of the split that results are reported on; `also_evaluate` adds others."""


@dataclass(frozen=True)
class TaskRows:
    """The rows of a task.

    Attributes:
        train: to train on.
        validation: held out of training; empty where `validation_fraction` is 0.
        evaluations: name of a split to report on -> its rows; the first is "evaluation".
        dropped: split -> why -> how many rows were left out.
    """

    train: list[Row]
    validation: list[Row]
    evaluations: dict[str, list[Row]]
    dropped: dict[str, dict[str, int]]


def read_task_rows(config: TaskConfig) -> TaskRows:
    """Read every split of a task.

    Raises:
        DataError: a faulty or empty source, a column that is missing, a split that comes out empty.
    """
    assert config.train is not None
    dropped: dict[str, dict[str, int]] = {}
    train = _read("train", config.train, config, dropped)
    evaluations = {}
    if config.evaluation is None:
        assert config.evaluation_fraction is not None
        train, evaluations[EVALUATION] = hold_out(train, _grouping(config), config.evaluation_fraction, EVALUATION)
    evaluations |= _read_evaluations(config, dropped)
    if config.article_split is not None:
        wanted, reported = article_lists(config.article_split)
        train = _articles(train, wanted, "train", config)
        evaluations[EVALUATION] = _articles(evaluations[EVALUATION], reported, EVALUATION, config)
    validation: list[Row] = []
    if config.validation_fraction:
        train, validation = hold_out(train, _grouping(config), config.validation_fraction, "validation")
    return TaskRows(train, validation, evaluations, dropped)


def read_evaluation_rows(config: TaskConfig) -> tuple[dict[str, list[Row]], dict[str, dict[str, int]]]:
    """The rows to report on by split, and how many were left out and why; training is read only where it is split.

    Raises:
        DataError: as `read_task_rows`.
    """
    if config.evaluation is None:
        rows = read_task_rows(config)
        return rows.evaluations, rows.dropped
    dropped: dict[str, dict[str, int]] = {}
    evaluations = _read_evaluations(config, dropped)
    if config.article_split is not None:
        _, reported = article_lists(config.article_split)
        evaluations[EVALUATION] = _articles(evaluations[EVALUATION], reported, EVALUATION, config)
    return evaluations, dropped


def columns_of(config: TaskConfig, row: Row) -> Columns:
    """The columns of text, pair and label: those that are given, else those of the task's form in this source."""
    preset = PRESETS.get(config.task_name)
    forms = preset.columns if preset is not None else ()
    public = next((form for form in forms if {form.text, form.label, form.pair or form.text} <= row.keys()), None)
    # Without a form that fits, the first one's names give the clearest complaint about what is missing.
    form = public or (forms[0] if forms else Columns("text", None, "label"))
    return Columns(
        config.text_column or form.text, config.text_pair_column or form.pair, config.label_column or form.label
    )


def kind_of_rows(config: TaskConfig, rows: list[Row]) -> TaskKind:
    """What kind of task the training rows make, where the recipe leaves it open.

    Question answering where there are the columns question, context and answers; regression where every label is a
    number and one of them is not whole; classification else.

    Raises:
        DataError: one label is no number, while another is a number with a fraction or, in a file that tells numbers
            from texts, a number: a gap in a regression's numbers must not make classes of them.
    """
    if config.kind != "auto":
        return config.kind
    if {"question", "context", "answers"} <= rows[0].keys():
        return "question_answering"
    if config.label_names is not None:
        return "classification"
    column = columns_of(config, rows[0]).label
    numbers = [_number(row.get(column)) for row in rows]
    found = [(row, number) for row, number in zip(rows, numbers, strict=True) if number is not None]
    fraction = next((row for row, number in found if not number.is_integer()), None)
    measured = fraction or next((row for row, _ in found if not isinstance(row[column], str)), None)
    odd = next((row for row, number in zip(rows, numbers, strict=True) if number is None), None)
    if measured is not None and odd is not None and column in odd:
        raise DataError(
            f"{odd.origin}: column {column!r} holds {str(odd[column])[:40]!r}, no number, while {measured.origin} has "
            f"{measured[column]!r}; correct the row, or set task.kind to classification or regression"
        )
    return "classification" if fraction is None else "regression"


def _read_evaluations(config: TaskConfig, dropped: dict[str, dict[str, int]]) -> dict[str, list[Row]]:
    sources: dict[str, Source] = {} if config.evaluation is None else {EVALUATION: config.evaluation}
    return {name: _read(name, source, config, dropped) for name, source in (sources | config.also_evaluate).items()}


def _read(split: str, source: Source, config: TaskConfig, dropped: dict[str, dict[str, int]]) -> list[Row]:
    """The rows of one source, without those that the task's rules leave out."""
    rows, left_out = usable_rows(read_rows(source, keep_broken=True), _row_check(config), config, split)
    if rows and config.drop_labels:
        column = columns_of(config, rows[0]).label
        unwanted = [row for row in rows if row.get(column) in config.drop_labels]
        for row in unwanted:
            left_out[f"label {row[column]!r}"] += 1
        rows = [row for row in rows if row.get(column) not in config.drop_labels] if unwanted else rows
    if not rows:
        raise DataError(f"task.{split}: the source {source!r} holds no example; check it")
    if left_out:
        dropped[split] = dict(left_out)
        for reason, count in left_out.items():
            logger.warning("%s: %d rows left out: %s", split, count, reason)
    return rows


def _row_check(config: TaskConfig) -> Callable[[Row], None]:
    """What raises a DataError for a row whose texts, or whose answers, can't be used."""
    seen: dict[str, str] = {}

    def check(row: Row) -> None:
        if config.kind == "question_answering" or (config.kind == "auto" and is_question(row)):
            check_question(row, seen)
            return
        columns = columns_of(config, row)
        for column in filter(None, (columns.text, columns.pair)):
            text_value(row, column)

    return check


def _articles(rows: list[Row], wanted: frozenset[str], split: str, config: TaskConfig) -> list[Row]:
    kept = [row for row in rows if str(column_value(row, config.article_column)) in wanted]
    if not kept:
        raise DataError(
            f"task.article_split: no row of {split} has an article of its list in column {config.article_column!r}; "
            "give the split of these articles"
        )
    return kept


def _grouping(config: TaskConfig) -> Callable[[Row], str]:
    """What must not be on both sides of a split: an article where rows name it, else a text (of a pair the first)."""

    def group(row: Row) -> str:
        if config.article_split is not None:
            return str(column_value(row, config.article_column))
        if "context" in row and "question" in row:
            return str(row.get("title") or row["context"])
        return " ".join(text_value(row, columns_of(config, row).text).casefold().split())

    return group


def _number(value: object) -> float | None:
    """A finite number, written as one or in text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
