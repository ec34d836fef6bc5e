"""Transformers' Trainer joined with pruner or lock, distiller and quantizer, and safe against being killed."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from pruneofa.atomic import write_json
from pruneofa.errors import CheckpointError, ConfigurationError, PruneofaError
from pruneofa.sparsity.lock import PatternLock
from pruneofa.sparsity.pruner import Pruner
from pruneofa.training import checkpoints
from pruneofa.training.objectives import Objective
from pruneofa.training.pruner_file import load_pruner, save_pruner
from pruneofa.training.rewinding import REWINDING_SCHEDULES, get_rewinding_schedule

_ACCUMULATORS_NAME = "accumulators.json"
_PRUNER_NAME = "pruner.safetensors"


class TrainingDivergedError(PruneofaError, ArithmeticError):
    """The loss is no longer a finite number."""


class SparseTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose model keeps its zeros and whose runs end the same however often they are killed.

    Args:
        objective: forward pass and loss (`pruneofa.training.objectives`).
        pruner: a `Pruner`, a `PatternLock`, or None for dense training; attached when training begins.
        lr_schedule: "rewinding" or "rewinding_cycles"; None for the library's own of `args`.
        batch_sampler: yields lists of dataset keys; an order that is a pure function of seed and epoch, so that a
            resumed run sees what an uninterrupted one would have.
        freeze_observers_step: step from which the ranges of quantized activations rest.
        **kwargs: of `transformers.Trainer`.
    """

    def __init__(
        self,
        *,
        objective: Objective,
        pruner: Pruner | PatternLock | None = None,
        lr_schedule: str | None = None,
        batch_sampler: Any = None,
        freeze_observers_step: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if lr_schedule is not None and not isinstance(pruner, Pruner):
            raise ConfigurationError(
                f"lr_scheduler_type is {lr_schedule!r}, which follows pruning, but nothing is pruned in this stage; "
                "choose linear, cosine or constant_with_warmup"
            )
        if lr_schedule is not None and lr_schedule not in REWINDING_SCHEDULES:
            raise ConfigurationError(f"lr_schedule is {lr_schedule!r}; allowed: {', '.join(REWINDING_SCHEDULES)}")
        self.objective = objective
        self.pruner = pruner
        self.lr_schedule = lr_schedule
        self.batch_sampler = batch_sampler
        # Our objectives return a mean over the batch, so the loop must divide by the accumulation steps itself.
        self.model_accepts_loss_kwargs = False
        self.part_sums: dict[str, float] = {}
        self.part_steps = 0
        self._staging: Path | None = None
        self._resumed_from: Path | None = None
        self.remove_callback(PrinterCallback)
        self.add_callback(_Join(self, freeze_observers_step))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches in the order of `batch_sampler`, from keys that carry the epoch."""
        if self.batch_sampler is None:
            return super().get_train_dataloader()
        loader: DataLoader[Any] = DataLoader(
            self.train_dataset,
            batch_sampler=self.batch_sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The rewinding schedule where one is asked for, else the library's own."""
        if self.lr_schedule is None or self.lr_scheduler is not None:
            return super().create_scheduler(num_training_steps, optimizer)
        assert isinstance(self.pruner, Pruner)
        pruning = self.pruner.config
        if pruning.end_step > num_training_steps:
            raise ConfigurationError(
                f"end_step is {pruning.end_step}, but the run has only {num_training_steps} steps; lower end_step or "
                "train longer, else the target sparsity is never reached"
            )
        self.lr_scheduler = get_rewinding_schedule(
            optimizer or self.optimizer,
            self.lr_schedule,
            total_steps=num_training_steps,
            warmup_steps=self.args.get_warmup_steps(num_training_steps),
            begin_step=pruning.begin_step,
            end_step=pruning.end_step,
            interval=pruning.update_every,
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The objective's loss; its parts are added up until they are logged."""
        loss, output, parts = self.objective(model, inputs)
        if model.training:
            value = float(loss.detach())
            if not math.isfinite(value):
                raise TrainingDivergedError(
                    f"the loss is {value} after {self.state.global_step} steps; the last sound checkpoint is "
                    f"{checkpoints.latest_checkpoint(self.args.output_dir)}. Lower learning_rate or raise warmup_ratio"
                )
            self.part_steps += 1
            for name, part in parts.items():
                self.part_sums[name] = self.part_sums.get(name, 0.0) + float(part)
        return (loss, output) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the loss's parts and the sparsity to what is logged."""
        if "loss" in logs:
            for name, value in self.part_sums.items():
                logs[name] = value / max(1, self.part_steps)
            self.part_sums, self.part_steps = {}, 0
            if self.pruner is not None:
                logs["sparsity/target"] = self.pruner.target
                logs["sparsity/actual"] = self.pruner.sparsity
        super().log(logs, start_time)

    def train(self, resume_from_checkpoint: str | Path | None = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """Train, from the start or from a checkpoint that is named; a damaged one is refused.

        Raises:
            CheckpointError: a file of the checkpoint is missing or not the one that was written.
            TrainingDivergedError: the loss is not finite.
        """
        checkpoints.remove_staging(self.args.output_dir)
        if resume_from_checkpoint is not None:
            problem = checkpoints.fault(Path(resume_from_checkpoint))
            if problem is not None:
                raise CheckpointError(f"checkpoint {resume_from_checkpoint}: {problem}; resume from an earlier one")
        self._resumed_from = None if resume_from_checkpoint is None else Path(resume_from_checkpoint)
        return super().train(
            resume_from_checkpoint=None if self._resumed_from is None else str(self._resumed_from), **kwargs
        )

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging) if self._staging is not None else str(super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint aside, seal it with a manifest of hashes, name it, and only then drop old ones."""
        output_dir = Path(super()._get_output_dir(trial))
        step = self.state.global_step
        final = output_dir / f"checkpoint-{step}"
        self._staging = output_dir / f"{checkpoints.STAGING_PREFIX}{step}"
        try:
            staged = self._staging / final.name
            super()._save_checkpoint(model, trial)
            if self.args.should_save:
                self._save_own_state(staged)
                if self.state.best_model_checkpoint == str(staged):
                    self.state.best_model_checkpoint = str(final)
                    self.state.save_to_json(str(staged / "trainer_state.json"))
                checkpoints.seal(staged, step)
                checkpoints.publish(staged, final)
                self._staging.rmdir()
                checkpoints.rotate(output_dir, self.args.save_total_limit or 2**31, self.state.best_model_checkpoint)
        finally:
            self._staging = None
            checkpoints.remove_staging(output_dir)
        self.accelerator.wait_for_everyone()

    def _save_own_state(self, folder: Path) -> None:
        if isinstance(self.pruner, Pruner):
            save_pruner(self.pruner, folder / _PRUNER_NAME)
        state = {
            "total_loss": self._total_loss_scalar,
            "loss_since_log": float(self._tr_loss),
            "last_logged_step": self._globalstep_last_logged,
            "part_sums": self.part_sums,
            "part_steps": self.part_steps,
        }
        write_json(folder / _ACCUMULATORS_NAME, state)

    def load_own_state(self) -> None:
        """Restore what `_save_own_state` wrote, if resuming; called when the loop has set its own counters."""
        folder = self._resumed_from
        if folder is None:
            return
        if isinstance(self.pruner, Pruner):
            load_pruner(self.pruner, folder / _PRUNER_NAME)
        state = json.loads((folder / _ACCUMULATORS_NAME).read_text(encoding="utf-8"))
        self._total_loss_scalar = state["total_loss"]
        self._tr_loss = torch.tensor(state["loss_since_log"], device=self.args.device)
        self._globalstep_last_logged = state["last_logged_step"]
        self.part_sums, self.part_steps = state["part_sums"], state["part_steps"]


class _Join(TrainerCallback):  # type: ignore[misc]
    """The moments of the loop at which pruner and observers act."""

    def __init__(self, trainer: SparseTrainer, freeze_observers_step: int | None) -> None:
        self._trainer = trainer
        self._freeze_observers_step = freeze_observers_step

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Attach the pruner to the final optimizer and continue its clock where a checkpoint left it."""
        trainer = self._trainer
        trainer.load_own_state()
        if trainer.pruner is not None:
            trainer.pruner.attach(trainer.optimizer)
        self._freeze_observers(state.global_step)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell the order of examples its epoch; accelerate's wrappers of a resumed run don't pass it on."""
        if self._trainer.batch_sampler is not None:
            self._trainer.batch_sampler.set_epoch(int((state.epoch or 0.0) + 1e-6))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance the pruning schedule after each optimizer step."""
        if self._trainer.pruner is not None:
            self._trainer.pruner.step()
        self._freeze_observers(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Let go of the optimizer."""
        if self._trainer.pruner is not None:
            self._trainer.pruner.detach()

    def _freeze_observers(self, step: int) -> None:
        if step == self._freeze_observers_step:
            from pruneofa.quantization.qat import set_observers_frozen

            set_observers_frozen(self._trainer.model, True)
