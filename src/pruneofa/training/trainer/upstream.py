"""What this package overrides, reads and sets of transformers' Trainer beyond its documented face: all of it, here.

A private method of the library gets a name of ours, `_save_checkpoint` that of `write_checkpoint`: a subclass overrides
the latter and comes to the library's own by `super()`. So a new release of transformers is met in this file alone, and
`tests/training/test_training_upstream.py` names each method whose signature is no longer the one recorded here.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

import torch
from transformers import Trainer

__all__ = ["PRIVATE_STATE", "SIGNATURES", "TRIED_WITH", "AdaptedTrainer", "use_one_device"]

TRIED_WITH: Mapping[str, str] = MappingProxyType({"transformers": "5.23.0", "accelerate": "1.15.0"})
"""Releases that these overrides were tried with last."""

SIGNATURES: Mapping[str, str] = MappingProxyType(
    {
        "_defer_fsdp_gradient_reduction": "(self)",
        "_determine_best_metric": "(self, metrics, trial)",
        "_finalize_training": "(self, trial, num_train_samples, start_time)",
        "_get_grad_norm": "(self, model, grad_norm=None)",
        "_get_output_dir": "(self, trial)",
        "_issue_warnings_after_load": "(self, load_result)",
        "_load_best_model": "(self)",
        "_load_from_checkpoint": "(self, resume_from_checkpoint, model=None)",
        "_load_optimizer_and_scheduler": "(self, checkpoint)",
        "_load_rng_state": "(self, checkpoint)",
        "_prepare_for_training": "(self, max_steps, train_dataloader, resume_from_checkpoint)",
        "_run_epoch": "(self, model, epoch, train_dataloader, steps_in_epoch, num_update_steps_per_epoch, trial, "
        "ignore_keys_for_eval, start_time, resume_from_checkpoint, epochs_trained, steps_trained_in_current_epoch)",
        "_save": "(self, output_dir=None, state_dict=None)",
        "_save_checkpoint": "(self, model, trial)",
        "_save_optimizer_and_scheduler": "(self, output_dir)",
        "_track_num_input_tokens": "(self, inputs)",
        "compute_loss": "(self, model, inputs, return_outputs=False, num_items_in_batch=None)",
        "create_scheduler": "(self, num_training_steps, optimizer=None)",
        "evaluate": "(self, eval_dataset=None, ignore_keys=None, metric_key_prefix='eval')",
        "get_batch_samples": "(self, epoch_iterator, num_batches, device)",
        "get_train_dataloader": "(self)",
        "log": "(self, logs, start_time=None)",
        "save_model": "(self, output_dir=None, _internal_call=False)",
        "train": "(self, resume_from_checkpoint=None, trial=None, ignore_keys_for_eval=None)",
    }
)
"""Every method of the Trainer that a class of this package overrides, with its parameters in `TRIED_WITH`."""

PRIVATE_STATE = (
    "_created_lr_scheduler",
    "_globalstep_last_logged",
    "_total_loss_scalar",
    "_tr_loss",
    "current_gradient_accumulation_steps",
    "is_distributed_loading_by_transformers",
    "model_accepts_loss_kwargs",
)
"""Attributes of the Trainer, not documented, that this package reads or sets."""


def use_one_device(arguments: Any) -> None:
    """Have a process use one device also where it sees more; else the Trainer splits its batches (DataParallel)."""
    arguments._n_gpu = 1


class AdaptedTrainer(Trainer):  # type: ignore[misc]
    """The library's Trainer, with a name for each private step that the classes above take part in."""

    model: Any
    lr_scheduler: Any

    # Steps of the loop: ours to override, the library's to call.

    def prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        """Optimizer, schedule and wrapped model, before the first step."""
        return super()._prepare_for_training(*args, **kwargs)

    def run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """One pass over the data, or what is left of it."""
        super()._run_epoch(*args, **kwargs)

    def deferred_gradient_reduction(self) -> AbstractContextManager[None]:
        """Within the block a split model's gradients stay on their ranks."""
        context: AbstractContextManager[None] = super()._defer_fsdp_gradient_reduction()
        return context

    def gradient_norm(self, model: Any, grad_norm: Any) -> Any:
        """The norm of the gradients, clipped just now to the largest allowed."""
        return super()._get_grad_norm(model, grad_norm)

    def count_input_tokens(self, inputs: dict[str, Any]) -> None:
        """Add a batch's tokens to `state.num_input_tokens_seen`."""
        super()._track_num_input_tokens(inputs)

    def finish_training(self, *args: Any, **kwargs: Any) -> Any:
        """What follows the last step: the best weights, old checkpoints, the log's last line."""
        return super()._finalize_training(*args, **kwargs)

    # Checkpoints.

    def checkpoint_home(self, trial: Any) -> str:
        """The folder in which checkpoints are written."""
        return str(super()._get_output_dir(trial))

    def write_checkpoint(self, model: Any, trial: Any) -> None:
        """A whole checkpoint."""
        super()._save_checkpoint(model, trial)

    def write_weights(self, output_dir: str | None, state_dict: dict[str, Any] | None) -> None:
        """Weights, config and tokenizer of the model."""
        super()._save(output_dir, state_dict)

    def write_optimizer(self, folder: str) -> None:
        """States of optimizer and schedule."""
        super()._save_optimizer_and_scheduler(folder)

    def read_weights(self, folder: str, model: Any = None) -> None:
        """A checkpoint's weights into the model."""
        super()._load_from_checkpoint(folder, model)

    def check_read_weights(self, result: Any) -> None:
        """Told which keys were missing or unexpected."""
        super()._issue_warnings_after_load(result)

    def read_optimizer(self, folder: str | None) -> None:
        """A checkpoint's states of optimizer and schedule."""
        super()._load_optimizer_and_scheduler(folder)

    def read_random_numbers(self, folder: str | None) -> None:
        """A checkpoint's states of the random number generators."""
        super()._load_rng_state(folder)

    def is_best(self, metrics: dict[str, float], trial: Any) -> bool:
        """Whether these metrics are the best so far; if so, `state` remembers."""
        return bool(super()._determine_best_metric(metrics, trial))

    def read_best(self) -> None:
        """The best checkpoint's weights into the model, at the end."""
        super()._load_best_model()

    # State of the loop that is in no file of the library's checkpoints.

    @property
    def total_loss(self) -> float:
        """Sum of the losses of all steps that were logged."""
        return float(self._total_loss_scalar)

    def loss_state(self) -> dict[str, float]:
        """What is added up until the next line of the log, and over the whole run."""
        return {
            "total_loss": self._total_loss_scalar,
            "loss_since_log": float(self._tr_loss),
            "last_logged_step": self._globalstep_last_logged,
        }

    def restore_loss_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `loss_state` told.

        Raises:
            KeyError, TypeError: it is not of that form.
        """
        total, since, step = state["total_loss"], state["loss_since_log"], state["last_logged_step"]
        self._tr_loss = torch.tensor(since, device=self.args.device)
        self._total_loss_scalar, self._globalstep_last_logged = total, step

    def use_scheduler(self, scheduler: Any) -> Any:
        """Take a schedule that was made for this run alone, so that the next run makes its own."""
        self.lr_scheduler = scheduler
        self._created_lr_scheduler = True
        return scheduler

    def take_split_model(self) -> None:
        """Have the library leave a model as it is that FSDP2 has split already."""
        self.model._is_fsdp_managed_module = True
        self.is_distributed_loading_by_transformers = True

    # The library's names.

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        return self.prepare_for_training(*args, **kwargs)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        self.run_epoch(*args, **kwargs)

    def _defer_fsdp_gradient_reduction(self) -> AbstractContextManager[None]:
        return self.deferred_gradient_reduction()

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        return self.gradient_norm(model, grad_norm)

    def _track_num_input_tokens(self, inputs: dict[str, Any]) -> None:
        self.count_input_tokens(inputs)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        return self.finish_training(*args, **kwargs)

    def _get_output_dir(self, trial: Any) -> str:
        return self.checkpoint_home(trial)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.write_checkpoint(model, trial)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        self.write_weights(output_dir, state_dict)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        self.write_optimizer(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.read_weights(resume_from_checkpoint, model)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        self.check_read_weights(load_result)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        self.read_optimizer(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        self.read_random_numbers(checkpoint)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        return self.is_best(metrics, trial)

    def _load_best_model(self) -> None:
        self.read_best()
