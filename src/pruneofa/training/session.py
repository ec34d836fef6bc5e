"""One training run from data set to trained model: set up, continued where it was broken off, reported."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from pruneofa.data.batches.batching import EpochBatchSampler, PaddingCollator
from pruneofa.errors import ConfigurationError
from pruneofa.ranks import on_first, world_size
from pruneofa.sparsity.lock import PatternLock
from pruneofa.sparsity.pruner import Pruner
from pruneofa.training.compilation import compiled_layers
from pruneofa.training.config import TrainingConfig, training_arguments, uses_fsdp
from pruneofa.training.objectives import Objective
from pruneofa.training.packed import check_packing, packing
from pruneofa.training.progress import ProgressReporter
from pruneofa.training.rewinding import REWINDING_SCHEDULES
from pruneofa.training.run import Examples, TrainingRun
from pruneofa.training.trackers import TENSORBOARD_FOLDER, keep_tensorboard_files
from pruneofa.training.trainer.checkpoints import latest_checkpoint
from pruneofa.training.trainer.distributed import batch_size_of_run
from pruneofa.training.trainer.fsdp import stand_in
from pruneofa.training.trainer.sparse_trainer import SparseTrainer


def train_model(
    model: nn.Module,
    objective: Objective,
    config: TrainingConfig,
    examples: Examples,
    run: TrainingRun,
    *,
    pruner: Pruner | PatternLock | None = None,
    freeze_observers_step: int | None = None,
    callbacks: Sequence[Any] = (),
) -> list[dict[str, Any]]:
    """Train `model` in place.

    Args:
        model: what is trained.
        objective: forward pass and loss.
        config: length, rate, precision.
        examples: of training and evaluation.
        run: its name, place and seed.
        pruner: a pruner or a lock on `model`.
        freeze_observers_step: for quantization-aware training.
        callbacks: further ones of transformers' Trainer.

    Returns:
        The log: one mapping for each logged step.

    Raises:
        ConfigurationError: `eval_steps` without data for it, or batches packed for a task; see also `SparseTrainer`.
        CheckpointError, TrainingDivergedError: see `SparseTrainer.train`.
    """
    _check_can_evaluate(config, run.label, examples.evaluation)
    _adapt(model, config)
    checkpoint = Path(run.resume_from) if run.resume_from else _latest(run.checkpoint_dir)
    with (
        stand_in(model, pruner) if uses_fsdp(config) else nullcontext(model) as trained,
        _prepared(trained, objective, config, run.label, examples) as train_collator,
        closing(ProgressReporter(run.label)) as progress,
    ):
        trainer = SparseTrainer(
            model=trained,
            objective=objective,
            pruner=pruner,
            freeze_observers_step=freeze_observers_step,
            train_dataset=examples.train,
            eval_dataset=examples.evaluation,
            train_collator=train_collator,
            data_collator=PaddingCollator(examples.pad_token_id),
            compute_metrics=examples.compute_metrics,
            callbacks=[progress, *callbacks],
            batch_sampler=_batch_sampler(config, examples.train, run.seed, checkpoint),
            **_settings(config, run),
        )
        keep_tensorboard_files(trainer, run.checkpoint_dir.parent / TENSORBOARD_FOLDER)
        trainer.train(checkpoint)
        if examples.evaluation is not None and not _was_evaluated(trainer):
            trainer.evaluate()
    return list(trainer.state.log_history)


def _check_can_evaluate(config: TrainingConfig, label: str, dataset: Any) -> None:
    if config.eval_steps is not None and dataset is None:
        raise ConfigurationError(
            f"eval_steps is {config.eval_steps}, but {label} has no data to evaluate on while training; leave it out"
        )


def _adapt(model: nn.Module, config: TrainingConfig) -> None:
    """Dropout and what is kept for the backward pass, as the settings say."""
    set_dropout(model, config.dropout)
    if config.gradient_checkpointing:
        _recompute_activations(model)


def _latest(checkpoint_dir: Path) -> Path | None:
    return on_first(partial(latest_checkpoint, checkpoint_dir))


def _settings(config: TrainingConfig, run: TrainingRun) -> dict[str, Any]:
    """What `SparseTrainer` takes that follows from the settings alone."""
    arguments = training_arguments(config, run.checkpoint_dir, run.seed)
    arguments.run_name = run.label
    return {
        "args": arguments,
        "lr_schedule": config.lr_scheduler_type if config.lr_scheduler_type in REWINDING_SCHEDULES else None,
        "fsdp": {"reshard_after_forward": config.fsdp_reshard_after_forward} if uses_fsdp(config) else None,
    }


def _batch_sampler(config: TrainingConfig, dataset: Any, seed: int, checkpoint: Path | None) -> EpochBatchSampler:
    size = batch_size_of_run(config.per_device_train_batch_size, world_size(), checkpoint)
    bucketed = config.batching == "bucketed"
    return EpochBatchSampler(dataset.lengths, size, seed, drop_last=len(dataset) >= size, group_by_length=bucketed)


@contextmanager
def _prepared(
    model: nn.Module, objective: Objective, config: TrainingConfig, label: str, examples: Examples
) -> Iterator[Any]:
    """Within the block student and teacher run as `config` says; what makes batches of training examples."""
    distiller = getattr(objective, "distiller", None)
    models = [model] if objective.teacher is None else [model, objective.teacher]
    with ExitStack() as stack:
        if config.torch_compile:
            stack.enter_context(compiled_layers(models))
        if config.batching != "packed":
            yield PaddingCollator(examples.pad_token_id)
            return
        takes_packed = getattr(objective, "takes_packed", False)
        check_packing(label, takes_packed=takes_packed, distillation=None if distiller is None else distiller.config)
        yield stack.enter_context(packing(models, examples.pad_token_id, int(max(examples.train.lengths))))


def _recompute_activations(model: Any) -> None:
    """Transformers 5 renames this as it goes."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()


def _was_evaluated(trainer: SparseTrainer) -> bool:
    """Whether the model as it is now was evaluated: with `eval_steps` the loop does so after the last step."""
    last = trainer.state.global_step
    if trainer.args.load_best_model_at_end and trainer.state.best_global_step not in (None, last):
        return False
    return any("eval_loss" in entry and entry["step"] == last for entry in trainer.state.log_history)


def set_dropout(model: nn.Module, probability: float | None) -> None:
    """Give every dropout layer this probability; the model's saved settings stay as they are."""
    if probability is None:
        return
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
