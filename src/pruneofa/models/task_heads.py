"""A model with a head for a task: its own where that fits, its rows put in the task's order; else a new one, told."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pruneofa.data.metrics.task_metrics import TaskKind
from pruneofa.data.tasks.labels import listed, numbered_rows
from pruneofa.errors import CheckpointError, DataError
from pruneofa.folder.label_names import check_distinct
from pruneofa.models.heads import PROBLEM_TYPES, TrainedHead, auto_class, head_of
from pruneofa.models.loading import load_config, load_model

__all__ = ["load_for_task", "load_trained_on_task"]

logger = logging.getLogger(__name__)


def load_for_task(model_path: str, kind: TaskKind, names: Sequence[str] | None, *, new_head: bool = True) -> Any:
    """A model with a head for a task, at random where it has none.

    A head that it has and that fits is kept; its rows are put in the order of the task's labels.

    Args:
        model_path: folder or name.
        kind: of task.
        names: the task's labels in class order, for a classification.
        new_head: a head that doesn't fit makes way for a new one; otherwise that is an error.

    Raises:
        CheckpointError: as `load_model`.
        DataError: the head doesn't fit, and `new_head` is off.
    """
    head = _head_of(model_path, kind)
    if head is None:
        return load_model(auto_class(kind), model_path, **_settings(kind, names))
    rows = head.rows_for(kind, names)
    if rows is None:
        what = _what(kind, names)
        if not new_head:
            raise DataError(
                f"model {model_path!r}: its head is for {head.what}, the task is {what}; start from the pre-trained "
                "model, name the labels as the head does, or set transfer.new_head to true for a new head at random"
            )
        logger.warning(
            "model %r: its head is for %s, the task is %s: a new head, at random, takes its place",
            model_path, head.what, what,
        )  # fmt: skip
        return _with_new_head(model_path, kind, names)
    return _with_own_head(model_path, head, rows, kind, names, head_is_trained=False)


def load_trained_on_task(whose: str, model_path: str, kind: TaskKind, names: Sequence[str] | None) -> Any:
    """A model that has learned the task already, with its rows in the order of the task's labels.

    Args:
        whose: for messages.
        model_path: folder or name.
        kind: of task.
        names: the task's labels in class order, for a classification.

    Raises:
        CheckpointError: as `load_model`; it has no trained head, or two rows of it have one name.
        DataError: it was trained on another task.
    """
    head = head_of(load_config(model_path))
    if head is None:  # raises, since such a model has no head that is trained
        return load_model(auto_class(kind), model_path, head_is_trained=True)
    rows = head.rows_for(kind, names)
    if rows is None and head.kind != kind:
        raise DataError(
            f"{whose} was trained for {head.kind or head.what}, the task is {kind}; fine-tune it on this task"
        )
    if rows is None:
        assert names is not None
        raise DataError(
            f"{whose} knows the labels {listed(head.names)}, the task has {listed(names)}; they must be the same: "
            "fine-tune it on this task, or set task.label_names to its labels"
        )
    check_distinct(head.names)
    return _with_own_head(model_path, head, rows, kind, names, head_is_trained=True)


def _with_own_head(
    model_path: str,
    head: TrainedHead,
    rows: list[int],
    kind: TaskKind,
    names: Sequence[str] | None,
    *,
    head_is_trained: bool,
) -> Any:
    model = load_model(auto_class(kind), model_path, head_is_trained=head_is_trained)
    if names is None:
        model.config.problem_type = PROBLEM_TYPES[kind] or model.config.problem_type
        return model
    if rows != sorted(rows):
        _permute(model, rows)
        logger.warning(
            "model %r: the rows of its head are put in the order of the task's labels: %s instead of %s",
            model_path, listed(names), listed(head.names),
        )  # fmt: skip
    elif numbered_rows(head.names) is not None and list(head.names) != list(names):
        logger.warning(
            "model %r: nobody named the rows of its head (%s); they are taken for %s, in this order",
            model_path, listed(head.names), listed(names),
        )  # fmt: skip
    for key, value in _settings(kind, names).items():
        setattr(model.config, key, value)
    return model


def _settings(kind: TaskKind, names: Sequence[str] | None) -> dict[str, Any]:
    """Entries of the config of a model for a task."""
    if kind == "question_answering":
        return {}
    settings: dict[str, Any] = {"problem_type": PROBLEM_TYPES[kind]}
    if names is None:
        return settings | {"num_labels": 1}
    return settings | {
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }


def _head_of(model_path: str, kind: TaskKind) -> TrainedHead | None:
    """What the model's head is for; where its config names no class, by what its weights hold."""
    config = load_config(model_path)
    if getattr(config, "architectures", None):
        return head_of(config)
    try:
        load_model(auto_class(kind), model_path, head_is_trained=True)
    except CheckpointError:
        return None
    return head_of(config)


def _with_new_head(model_path: str, kind: TaskKind, names: Sequence[str] | None) -> Any:
    """The encoder of a model that has another head, which may have the names and sizes of this task's."""
    model = load_model(auto_class(kind), model_path, ignore_mismatched_sizes=True, **_settings(kind, names))
    fresh = auto_class(kind).from_config(model.config).state_dict()
    encoder = f"{model.base_model_prefix}."
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith(encoder):
                parameter.copy_(fresh[name])
    return model


@torch.no_grad()
def _permute(model: Any, rows: list[int]) -> None:
    """Put the rows of the last Linear outside the encoder in this order."""
    encoder = f"{model.base_model_prefix}."
    linears = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == len(rows) and not name.startswith(encoder)
    ]
    if not linears:
        raise DataError(
            f"a {type(model).__name__} has no Linear layer with a row for each label, so its labels can't be put in "
            "another order; set task.label_names to the model's"
        )
    for parameter in linears[-1].parameters():
        parameter.copy_(parameter[rows].clone())


def _what(kind: TaskKind, names: Sequence[str] | None) -> str:
    if names is None:
        return kind.replace("_", " ")
    return f"{len(names)} classes ({listed(names)})"
