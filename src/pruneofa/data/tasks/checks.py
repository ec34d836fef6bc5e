"""What can be found wrong with a task's data without a model: read before a long run begins."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from pruneofa.data.sources.reading import is_read_later, read_rows
from pruneofa.data.sources.rows import Row
from pruneofa.data.tasks.classification import (
    check_labelled,
    checked_label,
    checked_number,
    class_names,
    class_of_label,
    task_labels,
    unseen_label,
)
from pruneofa.data.tasks.columns import columns_of
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.encoded import UNLABELLED
from pruneofa.data.tasks.labels import LabelSet, label_text
from pruneofa.data.tasks.left_out import usable_rows
from pruneofa.data.tasks.questions import read_questions, trainable_questions
from pruneofa.data.tasks.rows import TaskRows, read_task_rows
from pruneofa.errors import PruneofaError

__all__ = ["check_sources"]


def check_sources(config: TaskConfig) -> None:
    """Read the files of a task (see `located`) whole: a fault is better found now than hours later.

    Where a source needs a network, only the rows of the others are looked at, each on its own.

    Raises:
        ConfigurationError: the metric is not one of the task's kind.
        DataError: a source is missing, faulty or empty; a column or label is missing; training has one label, or
            hardly two alike; evaluation has a label that training lacks; no answer is in its context.
    """
    for key, item in _items(config):
        with _named(key):
            read_rows(item)
    local = [(key, item) for key, item in _items(config) if not is_read_later(item)]
    if len(local) == len(list(_items(config))):
        rows = read_task_rows(config)
        config.metric_of(rows.kind)
        labels: LabelSet | None = None
        if rows.kind == "classification":
            with _named("task.train"):
                labels = task_labels(class_names(rows.train, config), config)
        _check(rows, labels, config)
    elif config.kind in ("auto", "classification"):
        for key, item in local:
            usable_rows(read_rows(item, keep_broken=True), lambda row: _check_label(row, config), config, key)


def _check_label(row: Row, config: TaskConfig) -> None:
    checked_label(row, config)


def _check(task: TaskRows, labels: LabelSet | None, config: TaskConfig) -> None:
    trained: set[int] = set()
    for split, rows in {"train": task.train, "validation": task.validation, **task.evaluations}.items():
        with _named(f"task.{split}"):
            if task.kind == "question_answering":
                questions = read_questions(rows)
                if split == "train":
                    trainable_questions(questions, stop=config.on_error == "stop")
                continue
            labelled = 0
            for row in rows:
                if labels is None:
                    labelled += not math.isnan(checked_number(row, config))
                    continue
                number = class_of_label(row, config, labels)
                labelled += number != UNLABELLED
                if split == "train":
                    trained.add(number)
                elif number != UNLABELLED and number not in trained:
                    label = label_text(row[columns_of(config, row).label])
                    raise unseen_label(row, str(label), [labels.names[seen] for seen in sorted(trained)])
        if rows:
            check_labelled(split, labelled)


def _items(config: TaskConfig) -> Iterator[tuple[str, str]]:
    """Recipe key and item of every source of the task."""
    sources = {"task.train": config.train, "task.evaluation": config.evaluation}
    sources |= {f"task.also_evaluate.{name}": source for name, source in config.also_evaluate.items()}
    for key, source in sources.items():
        for item in [source] if isinstance(source, str) else source or []:
            yield key, item


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Within the block, faults name the recipe key."""
    try:
        yield
    except PruneofaError as error:
        raise type(error)(f"{key}: {error}") from error
