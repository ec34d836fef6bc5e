"""One training run from data set to trained model: set up, continued where it was broken off, reported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from pruneofa.data.batching import EpochBatchSampler, PaddingCollator
from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.lock import PatternLock
from pruneofa.sparsity.pruner import Pruner
from pruneofa.training.checkpoints import latest_checkpoint
from pruneofa.training.config import TrainingConfig, training_arguments
from pruneofa.training.objectives import Objective
from pruneofa.training.progress import ProgressReporter
from pruneofa.training.rewinding import REWINDING_SCHEDULES
from pruneofa.training.trainer import SparseTrainer


def train_model(
    model: nn.Module,
    objective: Objective,
    config: TrainingConfig,
    *,
    label: str,
    train_dataset: Any,
    eval_dataset: Any = None,
    pad_token_id: int,
    checkpoint_dir: Path,
    seed: int,
    pruner: Pruner | PatternLock | None = None,
    freeze_observers_step: int | None = None,
    compute_metrics: Callable[[Any], dict[str, float]] | None = None,
    resume_from_checkpoint: str | Path | None = None,
) -> list[dict[str, Any]]:
    """Train `model` in place.

    Args:
        model: what is trained.
        objective: forward pass and loss.
        config: length, rate, precision.
        label: name of the run for its progress.
        train_dataset: examples by `(epoch, index)`, with `lengths`.
        eval_dataset: examples for `eval_steps` and for the end.
        pad_token_id: fills shorter examples of a batch.
        checkpoint_dir: where checkpoints go; the latest sound one in it is continued from.
        seed: order of examples, dropout.
        pruner: a pruner or a lock on `model`.
        freeze_observers_step: for quantization-aware training.
        compute_metrics: of the predictions on `eval_dataset`; without it the loss alone is evaluated.
        resume_from_checkpoint: continue from this one instead.

    Returns:
        The log: one mapping for each logged step.

    Raises:
        ConfigurationError: `eval_steps` without `eval_dataset`; see also `SparseTrainer`.
        CheckpointError: see `SparseTrainer.train`.
        TrainingDivergedError: see `SparseTrainer.train`.
    """
    if config.eval_steps is not None and eval_dataset is None:
        raise ConfigurationError(
            f"eval_steps is {config.eval_steps}, but {label} has no data to evaluate on while training; leave it out"
        )
    set_dropout(model, config.dropout)
    if config.gradient_checkpointing:
        _recompute_activations(model)
    rewinding = config.lr_scheduler_type in REWINDING_SCHEDULES
    progress = ProgressReporter(label)
    trainer = SparseTrainer(
        model=model,
        args=training_arguments(config, checkpoint_dir, seed),
        objective=objective,
        pruner=pruner,
        lr_schedule=config.lr_scheduler_type if rewinding else None,
        batch_sampler=EpochBatchSampler(
            train_dataset.lengths,
            config.per_device_train_batch_size,
            seed,
            drop_last=len(train_dataset) >= config.per_device_train_batch_size,
            group_by_length=config.group_by_length,
        ),
        freeze_observers_step=freeze_observers_step,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        data_collator=PaddingCollator(pad_token_id),
        compute_metrics=compute_metrics,
        callbacks=[progress],
    )
    try:
        trainer.train(resume_from_checkpoint or latest_checkpoint(checkpoint_dir))
        if eval_dataset is not None and not _was_evaluated(trainer):
            trainer.evaluate()
    finally:
        progress.close()
    return list(trainer.state.log_history)


def _recompute_activations(model: Any) -> None:
    """Transformers 5 renames this as it goes."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()


def _was_evaluated(trainer: SparseTrainer) -> bool:
    """Whether the model as it is now was evaluated: with `eval_steps` the loop does so after the last step."""
    last = trainer.state.global_step
    return any("eval_loss" in entry and entry["step"] == last for entry in trainer.state.log_history)


def set_dropout(model: nn.Module, probability: float | None) -> None:
    """Give every dropout layer this probability; the model's saved settings stay as they are."""
    if probability is None:
        return
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
