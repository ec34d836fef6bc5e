"""A task's data, read, checked, split and tokenised, of whatever kind it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pruneofa.data.metrics.task_metrics import TaskKind
from pruneofa.data.sources.rows import Row
from pruneofa.data.tasks.classification import (
    check_labelled,
    class_names,
    encode_classes,
    encode_numbers,
    seen_labels,
    split_statistics,
    task_labels,
)
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.encoded import EncodedDataset
from pruneofa.data.tasks.labels import LabelSet
from pruneofa.data.tasks.layouts import located
from pruneofa.data.tasks.overlap import count_overlaps
from pruneofa.data.tasks.questions import read_questions, trainable_questions
from pruneofa.data.tasks.rows import EVALUATION, read_evaluation_rows, read_task_rows
from pruneofa.data.tasks.windows import WindowDataset, encode_questions
from pruneofa.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Split", "TaskData", "load_evaluations", "load_task"]

Split = EncodedDataset | WindowDataset
"""A tokenised split."""


@dataclass(frozen=True)
class TaskData:
    """A task's data.

    Attributes:
        kind: of task.
        train: what is trained on.
        validation: held out of training, to choose by; None where nothing is.
        evaluations: name -> split to report on; "evaluation" comes first.
        label_names: the label of each class number; None where there are no classes.
        statistics: for each split its figures (examples, truncated, lengths in tokens, labels ...); under "dropped" how
            many rows were left out and why, under "overlap" how many examples of a split are in training too, under
            "partial" what is incomplete about the data, where that is so.
        max_length: what examples were cut to, in tokens.
    """

    kind: TaskKind
    train: Split
    validation: Split | None
    evaluations: dict[str, Split]
    label_names: list[str] | None
    statistics: dict[str, Any]
    max_length: int

    @property
    def evaluation(self) -> Split:
        """The split that results are reported on."""
        return self.evaluations[EVALUATION]


def load_task(
    config: TaskConfig, tokenizer: "PreTrainedTokenizerBase", model_max_length: int | None = None
) -> TaskData:
    """Read, check and tokenise every split of a task.

    Args:
        config: the task.
        tokenizer: the model's tokenizer.
        model_max_length: longest sequence that the model takes, in tokens.

    Raises:
        DataError: `max_length` over the model's limit; a faulty or empty source; a missing column or label; fewer than
            two classes in training; a label in evaluation that training does not have; no answer in its context.
    """
    config = located(config)
    rows = read_task_rows(config)
    kind = rows.kind
    config = config.settled(kind, model_max_length, getattr(tokenizer, "model_max_length", None))
    config.metric_of(kind)
    dropped = {split: dict(reasons) for split, reasons in rows.dropped.items()}
    held = {"validation": rows.validation} if rows.validation else {}
    names: list[str] | None = None
    if kind == "question_answering":
        questions, moved = trainable_questions(read_questions(rows.train), stop=config.on_error == "stop")
        if moved:
            dropped["train"] = dropped.get("train", {}) | moved
        train: Split = encode_questions(questions, tokenizer, config)
        others: dict[str, Split] = {
            name: encode_questions(read_questions(part), tokenizer, config)
            for name, part in (held | rows.evaluations).items()
        }
    elif kind == "regression":
        train = encode_numbers(rows.train, tokenizer, config)
        others = {name: encode_numbers(part, tokenizer, config) for name, part in (held | rows.evaluations).items()}
    else:
        names = class_names(rows.train, config)
        labels = task_labels(names, config)
        train = classes = encode_classes(rows.train, labels, tokenizer, config)
        known = seen_labels(classes, names)
        others = {
            name: encode_classes(part, labels, tokenizer, config, known)
            for name, part in (held | rows.evaluations).items()
        }
    for name, split in others.items():
        if isinstance(split, EncodedDataset):
            check_labelled(name, int(split.labelled.sum()))
    statistics: dict[str, Any] = {
        name: _statistics(split, names) for name, split in ({"train": train} | others).items()
    }
    if dropped:
        statistics["dropped"] = dropped
    if overlaps := count_overlaps(train, others):
        statistics["overlap"] = overlaps
    if config.partial is not None:
        statistics["partial"] = config.partial
    validation = others.pop("validation", None)
    return TaskData(kind, train, validation, others, names, statistics, config.max_length)


def load_evaluations(
    config: TaskConfig,
    kind: TaskKind,
    tokenizer: "PreTrainedTokenizerBase",
    labels: LabelSet | None,
    model_max_length: int | None = None,
) -> tuple[dict[str, Split], dict[str, dict[str, int]]]:
    """Read, check and tokenise the splits to report on, for a trained model.

    Args:
        config: the task.
        kind: of the model.
        tokenizer: the model's tokenizer.
        labels: the model's, for a classification.
        model_max_length: longest sequence that the model takes, in tokens.

    Returns:
        The splits by name; of those with rows that were left out, how many and why.

    Raises:
        DataError: as `load_task`; a label that is not among `labels`; the task is of another kind.
    """
    if config.kind not in ("auto", kind):
        raise DataError(f"the model was trained for {kind}, but the task {config.task_name!r} is {config.kind}")
    config = config.settled(kind, model_max_length, getattr(tokenizer, "model_max_length", None), trained=True)
    rows, dropped = read_evaluation_rows(located(config), kind)
    splits = {name: _encode_evaluation(part, kind, labels, tokenizer, config) for name, part in rows.items()}
    return splits, {name: reasons for name, reasons in dropped.items() if name in splits}


def _encode_evaluation(
    rows: list[Row],
    kind: TaskKind,
    labels: LabelSet | None,
    tokenizer: "PreTrainedTokenizerBase",
    config: TaskConfig,
) -> Split:
    if kind == "question_answering":
        return encode_questions(read_questions(rows), tokenizer, config)
    if kind == "regression":
        return encode_numbers(rows, tokenizer, config)
    assert labels is not None
    return encode_classes(rows, labels, tokenizer, config)


def _statistics(split: Split, names: Sequence[str] | None) -> dict[str, Any]:
    return split.statistics() if isinstance(split, WindowDataset) else split_statistics(split, names)
