"""Which model goes with which kind of task: transformers' class, its head's settings, and a trained one's kind."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pruneofa.data.metrics.task_metrics import TaskKind
from pruneofa.errors import DataError
from pruneofa.models.loading import load_model

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


def auto_class(kind: TaskKind) -> Any:
    """Transformers' class for this kind of task."""
    import transformers

    return getattr(transformers, AUTO_CLASSES[kind])


def load_with_new_head(model_path: str, kind: TaskKind, label_names: Sequence[str] | None) -> Any:
    """A model with a head for a task; one that it has already and that fits is kept.

    Raises:
        CheckpointError: as `load_model`.
    """
    settings: dict[str, Any] = {}
    if kind == "regression":
        settings = {"num_labels": 1, "problem_type": "regression"}
    elif kind == "classification" and label_names is not None:
        settings = {
            "id2label": dict(enumerate(label_names)),
            "label2id": {name: index for index, name in enumerate(label_names)},
        }
    return load_model(auto_class(kind), model_path, **settings)


def kind_of_model(config: Any) -> TaskKind:
    """The kind of task that a trained model is for, by its config."""
    if any(str(name).endswith("ForQuestionAnswering") for name in getattr(config, "architectures", None) or ()):
        return "question_answering"
    problem = getattr(config, "problem_type", None)
    return "regression" if problem == "regression" or config.num_labels == 1 else "classification"


def labels_of_model(config: Any) -> list[str] | None:
    """A classification model's labels in class order; None for another kind of model."""
    if kind_of_model(config) != "classification":
        return None
    return [str(config.id2label[index]) for index in range(config.num_labels)]


def check_fits(whose: str, config: Any, kind: TaskKind, label_names: Sequence[str] | None) -> None:
    """Refuse a trained model for another task: its kind and its classes must be the task's, in the same order.

    LABEL_0 ..., which nobody named, fit any task.

    Raises:
        DataError: they are not.
    """
    if kind_of_model(config) != kind:
        raise DataError(
            f"{whose} was trained for {kind_of_model(config)}, the task is {kind}; fine-tune it on this task"
        )
    if label_names is None:
        return
    known, wanted = labels_of_model(config) or [], list(label_names)
    unnamed = known == [f"LABEL_{index}" for index in range(len(known))]
    if known != wanted and not (unnamed and len(known) == len(wanted)):
        raise DataError(
            f"{whose} knows the labels {', '.join(known)}, the task has {', '.join(wanted)}; they must be the same in "
            "the same order: fine-tune it on this task, or set task.label_names to its labels"
        )
