"""Which model goes with which kind of task: transformers' class, and what a model's head was trained for."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pruneofa.data.metrics.task_metrics import TaskKind
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.labels import LabelSet, listed, matching_rows
from pruneofa.errors import CheckpointError, DataError
from pruneofa.folder.label_names import check_distinct, row_names

__all__ = ["AUTO_CLASSES", "OUTPUTS", "TrainedHead", "auto_class", "head_of", "kind_of_model", "labels_for_task"]

AUTO_CLASSES: Mapping[TaskKind, str] = MappingProxyType(
    {
        "classification": "AutoModelForSequenceClassification",
        "regression": "AutoModelForSequenceClassification",
        "question_answering": "AutoModelForQuestionAnswering",
    }
)
"""Kind of task -> name of transformers' class for it."""

OUTPUTS: Mapping[TaskKind, tuple[str, ...]] = MappingProxyType(
    {
        "classification": ("logits",),
        "regression": ("logits",),
        "question_answering": ("start_logits", "end_logits"),
    }
)
"""Kind of task -> names of what its models predict."""

PROBLEM_TYPES: Mapping[TaskKind, str | None] = MappingProxyType(
    {"classification": "single_label_classification", "regression": "regression", "question_answering": None}
)
"""Kind of task -> `problem_type` of its models' configs: by it transformers chooses the loss."""

_MULTI_LABEL = "multi_label_classification"
_PRETRAINING = ("Model", "ForMaskedLM", "ForPreTraining", "ForNextSentencePrediction")


@dataclass(frozen=True)
class TrainedHead:
    """What a saved model's head is for, by its config.

    Attributes:
        what: for messages: "3 classes (a, b, c)".
        kind: of task; None where no task of this project has such a head, as for token classification.
        names: of its rows, for a classification.
    """

    what: str
    kind: TaskKind | None
    names: tuple[str, ...] = ()

    def rows_for(self, kind: TaskKind, names: Sequence[str] | None) -> list[int] | None:
        """For each of a task's labels, in order, its row ([] for a task without classes); None where it doesn't fit."""
        if self.kind != kind:
            return None
        return [] if names is None else matching_rows(self.names, names)


def auto_class(kind: TaskKind) -> Any:
    """Transformers' class for this kind of task."""
    import transformers

    return getattr(transformers, AUTO_CLASSES[kind])


def head_of(config: Any) -> TrainedHead | None:
    """What a saved model's head is for; None for a pre-trained model, which has none for a task.

    A config that names no class may have a head for sequences or none; only its weights can tell.

    Raises:
        CheckpointError: the config's names are none for the rows that it has.
    """
    name = str((getattr(config, "architectures", None) or ["ForSequenceClassification"])[0])
    if name.endswith("ForQuestionAnswering"):
        return TrainedHead("question answering", "question_answering")
    if name.endswith("ForTokenClassification"):
        return TrainedHead(f"token classification ({config.num_labels} classes)", None)
    if name.endswith(_PRETRAINING):
        return None
    if not name.endswith("ForSequenceClassification"):
        return TrainedHead(f"what {name} does", None)
    rows, problem = config.num_labels, getattr(config, "problem_type", None)
    if problem == _MULTI_LABEL:
        return TrainedHead(f"several labels for one text (problem_type {_MULTI_LABEL})", None)
    if problem == "regression" or rows == 1:
        return TrainedHead("regression" if rows == 1 else f"{rows} numbers", "regression" if rows == 1 else None)
    names = _names(config)
    return TrainedHead(f"{rows} classes ({listed(names)})", "classification", tuple(names))


def kind_of_model(config: Any) -> TaskKind:
    """The kind of task that a trained model is for, by its config.

    Raises:
        CheckpointError: it is for none that this project evaluates.
    """
    head = head_of(config)
    if head is None:  # of a model that nothing was trained for; whoever loads its head says so
        return "regression" if config.num_labels == 1 else "classification"
    if head.kind is None:
        raise CheckpointError(
            f"model {_name(config)!r} is trained for {head.what}; allowed: one label or one number for a text or a "
            "pair, and question answering"
        )
    return head.kind


def labels_for_task(whose: str, config: Any, task: TaskConfig) -> LabelSet | None:
    """What a classification model's rows and a task's labels mean to each other; None for another kind of model.

    Raises:
        CheckpointError: two rows have one name.
        DataError: the task lists other labels.
    """
    if kind_of_model(config) != "classification":
        return None
    names = _names(config)
    with _of_model(config):
        check_distinct(names)
    found = LabelSet.of_model(names, task.label_names)
    if found is None:
        assert task.label_names is not None
        remedy = "evaluate a model that was trained on this task"
        if len(names) == len(task.label_names):
            stand_ins = ", ".join(f"NAME_OF_{name}" for name in task.label_names)
            remedy = (
                "if they are the same under other names, list the model's in the order of the task's "
                f"(--set task.label_names='[{stand_ins}]') and write labels by these names or by number; else {remedy}"
            )
        raise DataError(
            f"{whose} has the labels {listed(names)} (id2label in its config.json), the task {task.task_name!r} has "
            f"{listed(task.label_names)} (task.label_names); {remedy}"
        )
    return found


def _names(config: Any) -> list[str]:
    with _of_model(config):
        return row_names(config.id2label, config.num_labels)


def _name(config: Any) -> str:
    """The model's, as it was asked for."""
    return str(getattr(config, "name_or_path", None) or config.model_type)


@contextmanager
def _of_model(config: Any) -> Iterator[None]:
    """Within the block, faults of the config name the model."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"model {_name(config)!r}: {error}") from None
