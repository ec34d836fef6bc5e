"""What `finetune`, `transfer` and `quantize` share: training a model on the recipe's task."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pruneofa.architectures.positions import longest_sequence
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.loading import TaskData, load_task
from pruneofa.data.tokenization import check_tokens_known
from pruneofa.distillation.distiller import Distiller
from pruneofa.errors import ConfigurationError
from pruneofa.models.loading import load_config, load_tokenizer
from pruneofa.models.scoring import trainers_metrics
from pruneofa.models.task_heads import load_for_task, load_trained_on_task
from pruneofa.ranks import on_first
from pruneofa.sparsity.lock import PatternLock
from pruneofa.sparsity.pruner import Pruner
from pruneofa.training.config import TrainingConfig
from pruneofa.training.objectives import TaskLoss
from pruneofa.training.run import Examples, TrainingRun
from pruneofa.training.sections import FinetuneSection, QuantizeSection, TransferSection
from pruneofa.training.session import train_model
from pruneofa.training.teacher_logits import WithTeacherLogits, stored_logits, teacher_logits

logger = logging.getLogger(__name__)


def load_task_data(model_path: str, task: TaskConfig, *, trains: bool = True) -> tuple[Any, TaskData]:
    """A model's tokenizer, and the task tokenised by it.

    Args:
        model_path: the model.
        task: its data.
        trains: the model learns this task, so that the length of its examples becomes the tokenizer's own: whoever
            loads the model cuts texts where training did.

    Raises:
        CheckpointError: the model has no tokenizer or config.
        DataError: as `load_task`.
    """
    tokenizer, config = load_tokenizer(model_path), load_config(model_path)
    data = load_task(task, tokenizer, longest_sequence(config))
    for split in (data.train, *data.evaluations.values(), *([data.validation] if data.validation else [])):
        check_tokens_known(split.input_ids, tokenizer, config.vocab_size)
    if trains:
        tokenizer.model_max_length = data.max_length
    return tokenizer, data


def load_task_model(
    model_path: str, task: TaskConfig, *, head_is_trained: bool = False, new_head: bool = False
) -> tuple[Any, Any, TaskData]:
    """Tokenizer, model with a head for the task, and the tokenised task.

    Args:
        model_path: the model to start from.
        task: its data.
        head_is_trained: the model has learned this task already, so its kind and labels must be the data's.
        new_head: a head for another task makes way for a new one; otherwise it is an error.

    Raises:
        CheckpointError: as `load_model`.
        DataError: as `load_task`; the model was trained on another task.
    """
    tokenizer, data = load_task_data(model_path, task, trains=not head_is_trained)
    if head_is_trained:
        model = load_trained_on_task(f"model {model_path!r}", model_path, data.kind, data.label_names)
    else:
        model = load_for_task(model_path, data.kind, data.label_names, new_head=new_head)
    return tokenizer, model, data


def train_on_task(
    section: FinetuneSection | TransferSection | QuantizeSection,
    run: TrainingRun,
    model: Any,
    data: TaskData,
    task: TaskConfig,
    pad_token_id: int,
    *,
    teacher: str | None = None,
    pruner: Pruner | PatternLock | None = None,
) -> list[dict[str, Any]]:
    """Train `model` in place, from a teacher where the section has a distillation; see `train_model`.

    What is held out of training is evaluated every `eval_steps` and at the end. The split that results are reported on
    takes no part.

    Args:
        section: the recipe's, of the stage.
        run: of the stage.
        model: with a head for the task.
        data: the task, tokenised.
        task: its settings.
        pad_token_id: of the model's tokenizer.
        teacher: path of the model that a distillation learns from.
        pruner: a pruner or a lock on `model`.

    Returns:
        The log.

    Raises:
        ConfigurationError: `eval_steps` is set and nothing is held out; distillation is on and there is no teacher.
        DataError: the teacher knows another task or other labels.
    """
    check_can_evaluate(run.label, section.training, task)
    for split, count in data.statistics.get("overlap", {}).items():
        logger.warning(
            "%s: %d of its %d texts are in training too; figures on these say little about new texts",
            split, count, data.statistics[split]["examples"],
        )  # fmt: skip
    distiller, train = _with_teacher(section, run.label, teacher, model, data, pad_token_id)
    metrics = None if data.validation is None else trainers_metrics(task, data.kind, data.validation)
    return train_model(
        model,
        TaskLoss(distiller),
        section.training,
        Examples(train, pad_token_id, data.validation, metrics),
        run,
        pruner=pruner,
        freeze_observers_step=(
            section.quantization.freeze_observers_step if isinstance(section, QuantizeSection) else None
        ),
    )


def check_can_evaluate(stage: str, training: TrainingConfig, task: TaskConfig) -> None:
    """Refuse `eval_steps` where nothing is held out of training: what is reported must not be looked at before.

    Raises:
        ConfigurationError: nothing is.
    """
    if training.eval_steps is not None and not task.validation_fraction:
        raise ConfigurationError(
            f"{stage}.training.eval_steps is {training.eval_steps}, but no part of the training data is held out to "
            "evaluate on; set task.validation_fraction (0.05, say), or leave eval_steps out"
        )


def validation_metrics(log: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The metrics of the last evaluation on what is held out of training, by their plain names; {} without one."""
    timing = ("runtime", "per_second", "preparation_time")
    for entry in reversed(log):
        if "eval_loss" in entry:
            return {
                key.removeprefix("eval_"): float(value)
                for key, value in entry.items()
                if key.startswith("eval_") and not any(word in key for word in timing)
            }
    return {}


def _with_teacher(
    section: FinetuneSection | TransferSection | QuantizeSection,
    stage: str,
    teacher_path: str | None,
    student: Any,
    data: TaskData,
    pad_token_id: int,
) -> tuple[Distiller | None, Any]:
    """The distiller of a stage, and its training examples with the teacher's logits beside them.

    The teacher sees no dropout and the examples don't change, so its answers are computed once. A teacher whose hidden
    states or attentions are learned from must run along.

    Raises:
        ConfigurationError: distillation is on and there is no teacher.
        DataError: the teacher knows another task or other labels.
    """
    distillation = None if isinstance(section, FinetuneSection) else section.distillation
    if distillation is None:
        return None, data.train
    if teacher_path is None:
        raise ConfigurationError(
            f"teacher: {stage}.distillation is on, but there is no task teacher; add the finetune stage, name one "
            f"with --teacher_name_or_path, or set {stage}.distillation to null"
        )
    teacher = load_trained_on_task(f"teacher {teacher_path!r}", teacher_path, data.kind, data.label_names)
    if distillation.needs_features:
        return Distiller(teacher, distillation, student=student), data.train
    logits = stored_logits(Path(teacher_path), data.train)
    if logits is None:
        logits = on_first(lambda: teacher_logits(teacher, data, pad_token_id, section.training))
    return Distiller(None, distillation), WithTeacherLogits(data.train, logits)
