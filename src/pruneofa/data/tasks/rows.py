"""A task's rows, read and split: what is trained on, held out, and reported on; before any tokenizer."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pruneofa.data.metrics.task_metrics import TaskKind
from pruneofa.data.sources.reading import read_rows
from pruneofa.data.sources.rows import Row, column_value, text_value
from pruneofa.data.tasks.columns import columns_of, label_of
from pruneofa.data.tasks.config import Source, TaskConfig
from pruneofa.data.tasks.kinds import kind_of_rows, labelled_rows
from pruneofa.data.tasks.labels import label_text
from pruneofa.data.tasks.left_out import is_question, usable_rows
from pruneofa.data.tasks.questions import check_question
from pruneofa.data.tasks.splitting import article_lists, hold_out
from pruneofa.errors import DataError

__all__ = ["EVALUATION", "TaskRows", "read_evaluation_rows", "read_task_rows"]

logger = logging.getLogger(__name__)

EVALUATION = "evaluation"
"""Name of the split that results are reported on; `also_evaluate` adds others."""


@dataclass(frozen=True)
class TaskRows:
    """The rows of a task.

    Attributes:
        kind: what its training rows make of it.
        train: to train on.
        validation: held out of training; empty where `validation_fraction` is 0.
        evaluations: name of a split to report on -> its rows; the first is "evaluation".
        dropped: split -> why -> how many rows were left out.
    """

    kind: TaskKind
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
    kind = kind_of_rows(config, train)
    train, unlabelled = labelled_rows(train, config, kind)
    _tell("train", unlabelled, dropped)
    evaluations = {}
    if config.evaluation is None:
        assert config.evaluation_fraction is not None
        train, evaluations[EVALUATION] = _held_out(train, kind, config, EVALUATION)
    evaluations |= _read_evaluations(config, dropped)
    if config.article_split is not None:
        wanted, reported = article_lists(config.article_split)
        train = _articles(train, wanted, "train", config)
        evaluations[EVALUATION] = _articles(evaluations[EVALUATION], reported, EVALUATION, config)
    validation: list[Row] = []
    if config.validation_fraction:
        train, validation = _held_out(train, kind, config, "validation")
    return TaskRows(kind, train, validation, evaluations, dropped)


def _held_out(rows: list[Row], kind: TaskKind, config: TaskConfig, split: str) -> tuple[list[Row], list[Row]]:
    """Rows to train on and those of another split that is taken out of them, with every class in both if it can be."""
    fraction = config.evaluation_fraction if split == EVALUATION else config.validation_fraction
    assert fraction is not None
    columns = columns_of(config, rows[0])

    def label(row: Row) -> str:
        return (label_of(row, columns) or "") if kind == "classification" else ""

    kept, held = hold_out(rows, _grouping(config), fraction, split, stratum_of=label, seed=config.split_seed)
    counts, present = Counter(map(label, rows)), set(map(label, held))
    if lost := [f"{name!r} ({count} of {len(rows):,})" for name, count in counts.items() if name not in present]:
        logger.warning(
            "%s: holds no example of the label %s, of which training keeps all (task.%s_fraction is %g); add examples "
            "of it, or give the split a source of its own",
            split,
            ", ".join(lost[:5]),
            split,
            fraction,
        )
    return kept, held


def read_evaluation_rows(config: TaskConfig, kind: TaskKind) -> tuple[dict[str, list[Row]], dict[str, dict[str, int]]]:
    """The rows to report on by split, and how many were left out and why; training is read only where it is split.

    A source of a classification or regression may have no labels.

    Raises:
        DataError: as `read_task_rows`.
    """
    if config.evaluation is None:
        rows = read_task_rows(config.model_copy(update={"validation_fraction": 0.0}))
        return rows.evaluations, rows.dropped
    dropped: dict[str, dict[str, int]] = {}
    evaluations = _read_evaluations(config, dropped)
    if config.article_split is not None:
        _, reported = article_lists(config.article_split)
        evaluations[EVALUATION] = _articles(evaluations[EVALUATION], reported, EVALUATION, config)
    if kind != "question_answering":
        for split, rows_of_split in evaluations.items():
            _may_lack_labels(split, rows_of_split, config)
    return evaluations, dropped


def _may_lack_labels(split: str, rows: list[Row], config: TaskConfig) -> None:
    """Rows of a source without a column of labels have none; one that was named must be there."""
    column = columns_of(config, rows[0]).label
    if config.label_column is not None or any(column in row for row in rows):
        return
    logger.warning(
        "%s: no column %r (columns: %s), so its rows have no labels: predictions alone; if there is one, name it "
        "with label_column",
        split,
        column,
        ", ".join(map(str, list(rows[0])[:20])),
    )
    for row in rows:
        row[column] = None


def _read_evaluations(config: TaskConfig, dropped: dict[str, dict[str, int]]) -> dict[str, list[Row]]:
    sources: dict[str, Source] = {} if config.evaluation is None else {EVALUATION: config.evaluation}
    return {name: _read(name, source, config, dropped) for name, source in (sources | config.also_evaluate).items()}


def _read(split: str, source: Source, config: TaskConfig, dropped: dict[str, dict[str, int]]) -> list[Row]:
    """The rows of one source, without those that the task's rules leave out."""
    key = f"task.{split}" if split in ("train", EVALUATION) else f"task.also_evaluate.{split}"
    rows, left_out = usable_rows(read_rows(source, keep_broken=True), _row_check(config), config, key)
    if rows and config.drop_labels:
        column = columns_of(config, rows[0]).label
        unwanted = {label_text(label) for label in config.drop_labels}
        kept = [row for row in rows if _text_of(row.get(column)) not in unwanted]
        for row in rows if len(kept) < len(rows) else ():
            if _text_of(row.get(column)) in unwanted:
                left_out[f"label {_text_of(row[column])!r}"] += 1
        rows = kept
    if not rows:
        raise DataError(f"{key}: the source {source!r} holds no example; check it")
    _fill_gaps(rows, config)
    _tell(split, left_out, dropped)
    return rows


def _text_of(value: object) -> str | None:
    """The label that a column holds; what is none is told later, with its place."""
    try:
        return label_text(value)
    except ValueError:
        return None


def _fill_gaps(rows: list[Row], config: TaskConfig) -> None:
    """Where some rows of JSON lines have the column of the label, those without it have no label."""
    column = columns_of(config, rows[0]).label
    if any(column in row for row in rows):
        for row in rows:
            row.setdefault(column, None)


def _tell(split: str, left_out: Mapping[str, int], dropped: dict[str, dict[str, int]]) -> None:
    """Note how many rows of a split are left out, and say so."""
    for reason, count in left_out.items():
        dropped.setdefault(split, {})[reason] = count
        logger.warning("%s: %s row%s left out: %s", split, f"{count:,}", "" if count == 1 else "s", reason)


def _row_check(config: TaskConfig) -> Callable[[Row], None]:
    """What raises a DataError for a row whose texts or answers can't be used; where rows are dropped, its label too."""
    seen: dict[str, str] = {}

    def check(row: Row) -> None:
        if config.kind == "question_answering" or (config.kind == "auto" and is_question(row)):
            check_question(row, seen)
            return
        columns = columns_of(config, row)
        for column in filter(None, (columns.text, columns.pair)):
            text_value(row, column)
        if config.on_error == "drop" and columns.label in row:
            label_of(row, columns)

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
