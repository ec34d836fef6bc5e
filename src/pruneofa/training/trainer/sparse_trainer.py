"""Transformers' Trainer joined with pruner or lock, distiller and quantizer, and safe against being killed."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.trainer_callback import PrinterCallback

from pruneofa.distillation.distiller import Distiller
from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.ranks import joint_ranges, on_first
from pruneofa.sparsity.lock import PatternLock
from pruneofa.sparsity.masks import unwrap
from pruneofa.sparsity.ownership import mend_zeros
from pruneofa.sparsity.pruner import Pruner
from pruneofa.sparsity.shards import whole
from pruneofa.training.objectives import Objective, TaskLoss
from pruneofa.training.rewinding import REWINDING_SCHEDULES, get_rewinding_schedule
from pruneofa.training.trainer import checkpoints
from pruneofa.training.trainer.callback import SparseTrainingCallback
from pruneofa.training.trainer.distributed import DistributedTrainer
from pruneofa.training.trainer.divergence import Key, TrainingDivergedError, diverged, keys_of_step
from pruneofa.training.trainer.pruner_file import load_pruner, save_pruner

__all__ = ["SparseTrainer", "TrainingDivergedError"]

_PRUNER_NAME = "pruner.safetensors"


class SparseTrainer(DistributedTrainer):
    """A Trainer whose model keeps its zeros and whose runs end the same however often they are killed.

    Args:
        objective: forward pass and loss (`TaskLoss`, `MaskedLanguageModeling`); None: the model's own loss on the
            labels of a batch, joined with `distiller`.
        distiller: what a teacher adds to that loss; an objective has its own.
        pruner: a `Pruner`, a `PatternLock`, or None for dense training; attached when training begins.
        lr_schedule: "rewinding" or "rewinding_cycles"; None for the library's own of `args`.
        batch_sampler: yields lists of dataset keys; an order that is a pure function of seed and epoch, so that a
            resumed run sees what an uninterrupted one would have. Without it the library's own order is used, which
            makes no such promise. Of several processes each yields the same whole batches, and takes its share.
        freeze_observers_step: step from which the ranges of quantized activations rest.
        fsdp: settings of `training.trainer.fsdp.shard`, which then splits the model when training begins; None: not.
        train_collator: makes batches of training examples (default: `data_collator`, which evaluation uses).
        **kwargs: of `transformers.Trainer`.

    Raises:
        ConfigurationError: the schedule is unknown, or follows pruning where nothing is pruned.
    """

    def __init__(
        self,
        *,
        objective: Objective | None = None,
        distiller: Distiller | None = None,
        pruner: Pruner | PatternLock | None = None,
        lr_schedule: str | None = None,
        batch_sampler: Any = None,
        freeze_observers_step: int | None = None,
        fsdp: Mapping[str, bool] | None = None,
        train_collator: Any = None,
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
        if objective is not None and distiller is not None:
            raise ConfigurationError("distiller is given beside objective; give it to that one: TaskLoss(distiller)")
        self.objective = TaskLoss(distiller) if objective is None else objective
        self.pruner = pruner
        self.lr_schedule = lr_schedule
        self.batch_sampler = batch_sampler
        self.fsdp = fsdp
        self.train_collator = train_collator or self.data_collator
        self.can_return_loss = True  # the objective gives one, also for batches without labels
        # The loop divides by the accumulation steps; `compute_loss` takes that back where our own totals have done it.
        self.model_accepts_loss_kwargs = False
        self.part_sums: dict[str, float] = {}
        self.part_steps = 0.0
        self.batches_of_step = 0
        self._train_loader: Any = None
        self._staging: Path | None = None
        self._resumed_from: Path | None = None
        if self.objective.teacher is not None:
            self.objective.teacher.to(self.args.device)
        self.remove_callback(PrinterCallback)
        self.add_callback(SparseTrainingCallback(self, freeze_observers_step))

    def get_train_dataloader(self) -> Any:
        """Batches in the order of `batch_sampler`, from keys that carry the epoch."""
        if self.batch_sampler is None:
            return super().get_train_dataloader()
        self._train_loader = self.share_batches(self.batch_sampler, self.train_collator)
        return self._train_loader

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The rewinding schedule where one is asked for, else the library's own."""
        pruning = self.pruner.config if isinstance(self.pruner, Pruner) else None
        if pruning is not None and pruning.end_step > num_training_steps:
            raise ConfigurationError(
                f"sparsity.end_step is {pruning.end_step}, but the run has only {num_training_steps} steps; lower "
                "end_step or train longer, else the target sparsity is never reached"
            )
        if pruning is None or self.lr_schedule is None or self.lr_scheduler is not None:
            return super().create_scheduler(num_training_steps, optimizer)
        return self.use_scheduler(
            get_rewinding_schedule(
                optimizer or self.optimizer,
                self.lr_schedule,
                total_steps=num_training_steps,
                warmup_steps=self.args.get_warmup_steps(num_training_steps),
                begin_step=pruning.begin_step,
                end_step=pruning.end_step,
                interval=pruning.update_every,
            )
        )

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], dict[str, float] | None]:
        """The batches of a step, and how much they and those of the other processes hold of what losses are means over.

        Divided by these totals, the gradient of a step is that of one big batch, however the batch is cut.
        """
        batches, _ = super().get_batch_samples(*args, **kwargs)
        if len(batches) < 2 and self.args.world_size < 2:
            return batches, None
        counts = [self.objective.counts(batch) for batch in batches]
        names = sorted(counts[0]) if counts else []
        sums = [sum(float(count[name]) for count in counts) for name in names]
        summed = self.accelerator.reduce(torch.tensor(sums, device=self.args.device, dtype=torch.float64))
        return batches, dict(zip(names, summed.tolist(), strict=True))

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The objective's loss; its parts are added up until they are logged."""
        totals: dict[str, float] | None = num_items_in_batch if model.training else None
        # The library gives the student's forward pass the run's precision; the teacher's is to have the same.
        with self.accelerator.autocast(), joint_ranges(model.training):
            loss, output, parts = self.objective(model, inputs, totals)
        if totals is not None:
            # What follows divides by the batches of a step, and gradients become means over processes.
            scale = self.current_gradient_accumulation_steps * self.accelerator.num_processes
            loss, parts = loss * scale, {name: part * scale for name, part in parts.items()}
        if model.training:
            self.batches_of_step += 1
            if not math.isfinite(value := float(loss.detach())):
                raise self._diverged("loss", value, self._keys_of_step()[self.batches_of_step - 1 :][:1])
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
            for name, value in self._over_processes(self.part_sums).items():
                logs[name] = value / self.part_steps
            self.part_sums, self.part_steps = {}, 0.0
            if self.pruner is not None:
                logs["sparsity/target"] = self.pruner.target
                logs["sparsity/actual"] = self.pruner.sparsity
        if "train_loss" in logs:
            # The sum goes on over interruptions, so it is divided by all steps, not by those since the last start.
            total = self._over_processes({"loss": self.total_loss})["loss"]
            logs["train_loss"] = total / max(1, self.state.global_step)
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
        self._resumed_from = on_first(partial(self._choose_checkpoint, resume_from_checkpoint))
        source = None if self._resumed_from is None else str(self._resumed_from)
        try:
            output = super().train(resume_from_checkpoint=source, **kwargs)
            mend_zeros(self.model, "the end of training")
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

    def run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """As the library's; resumed from the checkpoint of its last step, that would take one step more."""
        if self.state.global_step >= self.state.max_steps:
            self.read_random_numbers(self._resumed_from)
            self.control.should_training_stop = True
            return
        super().run_epoch(*args, **kwargs)

    def gradient_norm(self, model: Any, grad_norm: Any) -> Any:
        """The norm over all ranks.

        Raises:
            TrainingDivergedError: it is not finite.
        """
        norm = whole(super().gradient_norm(model, grad_norm))
        # With fp16 a scaler expects overflows and skips the step.
        if not self.args.fp16 and not math.isfinite(value := float(norm)):
            raise self._diverged("gradient's norm", value, self._keys_of_step())
        return norm

    def _keys_of_step(self) -> list[list[Key]]:
        """Keys of this process's batches of the step under way; none where the order of examples is not ours."""
        if self.batch_sampler is None:
            return []
        return keys_of_step(self._train_loader, self.state.global_step, self.args.gradient_accumulation_steps)

    def _diverged(self, what: str, value: float, batches: list[list[Key]]) -> TrainingDivergedError:
        """The error that stops the run before a step that would spoil the weights, and the checkpoints after it."""
        return diverged(
            what,
            value,
            step=self.state.global_step,
            keys=[key for batch in batches for key in batch],
            dataset=self.train_dataset,
            checkpoint=checkpoints.latest_checkpoint(self.args.output_dir),
        )

    def count_input_tokens(self, inputs: dict[str, Any]) -> None:
        """Count tokens that are no padding, over all processes; without a mask of this form nothing is padding."""
        mask = inputs.get("attention_mask")
        tokens = inputs["input_ids"].numel() if mask is None or mask.dim() != 2 else mask.count_nonzero()
        counted = torch.as_tensor(tokens, device=self.args.device, dtype=torch.int64)
        self.state.num_input_tokens_seen += int(self.accelerator.gather(counted).sum())

    def check_read_weights(self, result: Any) -> None:
        """Refuse what the library only warns of: a resumed run must have every weight of the one that was killed."""
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        loaded = {id(value) for name, value in parameters.items() if name not in result.missing_keys}
        missing = [name for name in result.missing_keys if id(parameters.get(name)) not in loaded]
        faults = [f"has no {name}" for name in missing] + [f"has {name} too" for name in result.unexpected_keys]
        if faults:
            shown = ", ".join(faults[:3]) + (f" and {len(faults) - 3} more" if len(faults) > 3 else "")
            raise CheckpointError(
                f"checkpoint {self._resumed_from} is of another model: it {shown}; resume with the model that wrote it"
            )

    def checkpoint_home(self, trial: Any) -> str:
        """Where a checkpoint is written, before it gets its name."""
        return str(self._staging) if self._staging is not None else super().checkpoint_home(trial)

    def write_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint aside, seal it with a manifest of hashes, name it, and only then drop old ones."""
        output_dir = Path(super().checkpoint_home(trial))
        step = self.state.global_step
        self._staging = output_dir / f"{checkpoints.STAGING_PREFIX}{step}"
        staged = self._staging / f"checkpoint-{step}"
        try:
            super().write_checkpoint(model, trial)
            self._save_own_state(staged)
            self.accelerator.wait_for_everyone()  # each rank puts its own state into the folder
            if self.args.should_save:
                self._publish(staged, output_dir / staged.name)
        except torch.distributed.DistError:
            raise
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

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        """As the library's, of a model whose zeros are where its masks say."""
        mend_zeros(self.model, f"the checkpoint of step {self.state.global_step}")
        super().save_model(*args, **kwargs)

    def write_weights(self, output_dir: str | None, state_dict: dict[str, Any] | None) -> None:
        """Under the names that the weights have in memory, since resuming looks for those.

        The library would write those of the file that the model was loaded from, such as BERT's old LayerNorm.gamma.
        """
        model = unwrap(self.model)
        if not isinstance(model, PreTrainedModel):
            super().write_weights(output_dir, state_dict)
            return
        model.save_pretrained = partial(model.save_pretrained, save_original_format=False)
        try:
            super().write_weights(output_dir, state_dict)
        finally:
            del model.save_pretrained

    def _over_processes(self, values: dict[str, float]) -> dict[str, float]:
        """The mean of each value over processes."""
        if self.args.world_size == 1 or not values:
            return values
        own = torch.tensor(list(values.values()), device=self.args.device, dtype=torch.float64)
        return dict(zip(values, self.accelerator.reduce(own, "mean").tolist(), strict=True))

    def _publish(self, staged: Path, final: Path) -> None:
        if self.state.best_model_checkpoint == str(staged):
            self.state.best_model_checkpoint = str(final)
            self.state.save_to_json(str(staged / "trainer_state.json"))
        checkpoints.seal(staged, self.state.global_step)
        checkpoints.publish(staged, final)
        checkpoints.rotate(final, self.args.save_total_limit or 2**31, self.best_checkpoint)

    def _save_own_state(self, folder: Path) -> None:
        if isinstance(self.pruner, Pruner):
            save_pruner(self.pruner, folder / _PRUNER_NAME, write=self.args.should_save)
        self._save_of_ranks(folder, {**self.loss_state(), "part_sums": self.part_sums, "part_steps": self.part_steps})

    def _load_pruner(self, folder: Path) -> None:
        if isinstance(self.pruner, Pruner):
            load_pruner(self.pruner, folder / _PRUNER_NAME)

    def load_own_state(self) -> None:
        """Restore pruner and loss accumulators, if resuming; called when the loop has set its own counters."""
        self.part_sums, self.part_steps = {}, 0.0
        folder = self._resumed_from
        if folder is None:
            self._begin_random_numbers()
            return
        if (best := self.best_checkpoint) is not None:  # also where the run's folder was moved
            self.state.best_model_checkpoint = str(best)
        self._load_pruner(folder)
        state = self._load_of_ranks(folder)
        try:
            self.restore_loss_state(state)
            self.part_sums, self.part_steps = state["part_sums"], state["part_steps"]
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"checkpoint {folder}: no readable loss accumulators ({error}); resume from an earlier one"
            ) from error
