"""Transformers' Trainer joined with pruner or lock, distiller and quantizer, and safe against being killed."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback

from pruneofa.atomic import write_json
from pruneofa.errors import CheckpointError, ConfigurationError, PruneofaError
from pruneofa.sparsity.lock import PatternLock
from pruneofa.sparsity.pruner import Pruner
from pruneofa.training import checkpoints
from pruneofa.training.callback import SparseTrainingCallback
from pruneofa.training.objectives import Objective
from pruneofa.training.pruner_file import load_pruner, save_pruner
from pruneofa.training.rewinding import REWINDING_SCHEDULES, get_rewinding_schedule

_PRUNER_NAME = "pruner.safetensors"


class TrainingDivergedError(PruneofaError, ArithmeticError):
    """The loss or its gradient is no longer a finite number."""


class SparseTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose model keeps its zeros and whose runs end the same however often they are killed.

    Args:
        objective: forward pass and loss (`pruneofa.training.objectives`).
        pruner: a `Pruner`, a `PatternLock`, or None for dense training; attached when training begins.
        lr_schedule: "rewinding" or "rewinding_cycles"; None for the library's own of `args`.
        batch_sampler: yields lists of dataset keys; an order that is a pure function of seed and epoch, so that a
            resumed run sees what an uninterrupted one would have. Without it the library's own order is used, which
            makes no such promise.
        freeze_observers_step: step from which the ranges of quantized activations rest.
        **kwargs: of `transformers.Trainer`.

    Raises:
        ConfigurationError: the schedule is unknown, or follows pruning where nothing is pruned.
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
        if lr_schedule is not None and lr_schedule not in REWINDING_SCHEDULES:
            raise ConfigurationError(f"lr_schedule is {lr_schedule!r}; allowed: {', '.join(REWINDING_SCHEDULES)}")
        if lr_schedule is not None and not isinstance(pruner, Pruner):
            raise ConfigurationError(
                f"lr_scheduler_type is {lr_schedule!r}, which follows pruning, but nothing is pruned in this stage; "
                "choose linear, cosine or constant_with_warmup"
            )
        self.objective = objective
        self.pruner = pruner
        self.lr_schedule = lr_schedule
        self.lr_scheduler: Any
        self.batch_sampler = batch_sampler
        # Our objectives return a mean over the batch, so the loop must divide by the accumulation steps itself.
        self.model_accepts_loss_kwargs = False
        self.part_sums: dict[str, float] = {}
        self.part_steps = 0.0
        self._staging: Path | None = None
        self._resumed_from: Path | None = None
        teacher = getattr(getattr(objective, "distiller", None), "teacher", None)
        if teacher is not None:
            teacher.to(self.args.device)
        self.remove_callback(PrinterCallback)
        self.add_callback(SparseTrainingCallback(self, freeze_observers_step))

    def get_train_dataloader(self) -> Any:
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
        pruning = self.pruner.config if isinstance(self.pruner, Pruner) else None
        if pruning is not None and pruning.end_step > num_training_steps:
            raise ConfigurationError(
                f"end_step is {pruning.end_step}, but the run has only {num_training_steps} steps; lower end_step or "
                "train longer, else the target sparsity is never reached"
            )
        if pruning is None or self.lr_schedule is None or self.lr_scheduler is not None:
            return super().create_scheduler(num_training_steps, optimizer)
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
        # The library gives the student's forward pass the run's precision; the teacher's is to have the same.
        with self.accelerator.autocast():
            loss, output, parts = self.objective(model, inputs)
        if model.training:
            self._check_finite("loss", float(loss.detach()))
            share = 1.0 / self.current_gradient_accumulation_steps
            self.part_steps += share
            for name, part in parts.items():
                self.part_sums[name] = self.part_sums.get(name, 0.0) + share * float(part)
        return (loss, output) if return_outputs else loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """As the library's, but the random numbers of training go on as if there had been no evaluation."""
        with torch.random.fork_rng(devices=[]):  # a DataLoader draws from torch's CPU generator
            return dict(super().evaluate(*args, **kwargs))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the loss's parts and the sparsity to what is logged."""
        if "loss" in logs:
            for name, value in self.part_sums.items():
                logs[name] = value / self.part_steps
            self.part_sums, self.part_steps = {}, 0.0
            if self.pruner is not None:
                logs["sparsity/target"] = self.pruner.target
                logs["sparsity/actual"] = self.pruner.sparsity
        if "train_loss" in logs:
            # The sum goes on over interruptions, so it is divided by all steps, not by those since the last start.
            logs["train_loss"] = self._total_loss_scalar / max(1, self.state.global_step)
        super().log(logs, start_time)

    def train(self, resume_from_checkpoint: str | Path | bool | None = None, **kwargs: Any) -> Any:
        """Train, from the start or from a checkpoint.

        Args:
            resume_from_checkpoint: a checkpoint's folder, refused when it is damaged; True for the latest sound one
                of `args.output_dir`, if there is any; else training begins anew.
            **kwargs: of `transformers.Trainer.train`.

        Raises:
            CheckpointError: a file of the checkpoint is missing or not the one that was written, it is of another
                model, or a new one can't be written.
            TrainingDivergedError: the loss or its gradient is not finite.
        """
        if self.args.should_save:
            checkpoints.remove_staging(self.args.output_dir)
        self._resumed_from = self._choose_checkpoint(resume_from_checkpoint)
        source = None if self._resumed_from is None else str(self._resumed_from)
        try:
            output = super().train(resume_from_checkpoint=source, **kwargs)
        finally:
            if self.pruner is not None:
                self.pruner.detach()
        return output._replace(training_loss=output.metrics["train_loss"])

    def _choose_checkpoint(self, wanted: str | Path | bool | None) -> Path | None:
        if wanted is True:
            return checkpoints.latest_checkpoint(self.args.output_dir)
        if wanted is None or wanted is False:
            return None
        problem = checkpoints.fault(Path(wanted))
        if problem is not None:
            raise CheckpointError(f"checkpoint {wanted}: {problem}; resume from an earlier one")
        return Path(wanted)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # Resumed from the checkpoint of its last step, the library's loop would take one step more.
        if self.state.global_step >= self.state.max_steps:
            self._load_rng_state(self._resumed_from)
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if not self.args.fp16:  # there a scaler expects overflows and skips the step
            self._check_finite("gradient's norm", float(norm))
        return norm

    def _check_finite(self, what: str, value: float) -> None:
        """Stop before a step that would spoil the weights, and the checkpoints after it."""
        if math.isfinite(value):
            return
        sound = checkpoints.latest_checkpoint(self.args.output_dir)
        raise TrainingDivergedError(
            f"step {self.state.global_step + 1}: the {what} is {value}; "
            + ("no checkpoint was written before. " if sound is None else f"the last sound checkpoint is {sound}. ")
            + "Lower learning_rate or raise warmup_ratio, and start anew"
        )

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Refuse what the library only warns of: a resumed run must have every weight of the one that was killed."""
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        loaded = {id(value) for name, value in parameters.items() if name not in load_result.missing_keys}
        missing = [name for name in load_result.missing_keys if id(parameters.get(name)) not in loaded]
        faults = [f"has no {name}" for name in missing] + [f"has {name} too" for name in load_result.unexpected_keys]
        if faults:
            shown = ", ".join(faults[:3]) + (f" and {len(faults) - 3} more" if len(faults) > 3 else "")
            raise CheckpointError(
                f"checkpoint {self._resumed_from} is of another model: it {shown}; resume with the model that wrote it"
            )

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging) if self._staging is not None else str(super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint aside, seal it with a manifest of hashes, name it, and only then drop old ones."""
        output_dir = Path(super()._get_output_dir(trial))
        step = self.state.global_step
        self._staging = output_dir / f"{checkpoints.STAGING_PREFIX}{step}"
        staged = self._staging / f"checkpoint-{step}"
        try:
            super()._save_checkpoint(model, trial)
            self._save_own_state(staged)
            self.accelerator.wait_for_everyone()  # each rank puts its own state into the folder
            if self.args.should_save:
                self._publish(staged, output_dir / staged.name)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f"the checkpoint of step {step} can't be written to {output_dir}: {error}. The last sound one is "
                f"{checkpoints.latest_checkpoint(output_dir)}; make room there and start the same command again"
            ) from error
        finally:
            self._staging = None
            if self.args.should_save:
                checkpoints.remove_staging(output_dir)
        self.accelerator.wait_for_everyone()

    def _publish(self, staged: Path, final: Path) -> None:
        if self.state.best_model_checkpoint == str(staged):
            self.state.best_model_checkpoint = str(final)
            self.state.save_to_json(str(staged / "trainer_state.json"))
        if isinstance(self.pruner, Pruner):
            save_pruner(self.pruner, staged / _PRUNER_NAME)
        checkpoints.seal(staged, self.state.global_step)
        checkpoints.publish(staged, final)
        checkpoints.rotate(final, self.args.save_total_limit or 2**31, self.state.best_model_checkpoint)

    def _accumulators(self, folder: Path) -> Path:
        return folder / f"accumulators-{self.args.process_index}.json"

    def _save_own_state(self, folder: Path) -> None:
        state = {
            "total_loss": self._total_loss_scalar,
            "loss_since_log": float(self._tr_loss),
            "last_logged_step": self._globalstep_last_logged,
            "part_sums": self.part_sums,
            "part_steps": self.part_steps,
        }
        write_json(self._accumulators(folder), state)

    def load_own_state(self) -> None:
        """Restore pruner and loss accumulators, if resuming; called when the loop has set its own counters."""
        self.part_sums, self.part_steps = {}, 0.0
        folder = self._resumed_from
        if folder is None:
            return
        if isinstance(self.pruner, Pruner):
            load_pruner(self.pruner, folder / _PRUNER_NAME)
        try:
            state = json.loads(self._accumulators(folder).read_text(encoding="utf-8"))
            self._total_loss_scalar = state["total_loss"]
            self._tr_loss = torch.tensor(state["loss_since_log"], device=self.args.device)
            self._globalstep_last_logged = state["last_logged_step"]
            self.part_sums, self.part_steps = state["part_sums"], state["part_steps"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{self._accumulators(folder)}: no readable loss accumulators ({error}); resume with as many processes "
                "as wrote the checkpoint, or from an earlier one"
            ) from error
