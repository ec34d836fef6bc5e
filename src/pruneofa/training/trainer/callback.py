"""The moments of transformers' training loop at which pruner, observers and the order of examples act."""

import logging
from typing import Any, Protocol

from transformers import TrainerCallback

logger = logging.getLogger(__name__)


class Driven(Protocol):
    """What the callback drives of a trainer.

    Attributes:
        model: whose observers are frozen.
        optimizer: to which the pruner is attached; there when training begins.
        pruner: a pruner or a lock, or None.
        batch_sampler: the order of examples; None where it is the library's.
        batches_of_step: how many batches of the step under way were computed.
    """

    model: Any
    optimizer: Any
    pruner: Any
    batch_sampler: Any
    batches_of_step: int

    def load_own_state(self) -> None:
        """Continue where a checkpoint left off, if the run is resumed."""


class SparseTrainingCallback(TrainerCallback):  # type: ignore[misc]
    """Added by `SparseTrainer` itself.

    Args:
        trainer: whose pruner and batch sampler are driven.
        freeze_observers_step: step from which the ranges of quantized activations rest; None: never.
    """

    def __init__(self, trainer: Driven, freeze_observers_step: int | None) -> None:
        self._trainer = trainer
        self._freeze_observers_step = freeze_observers_step

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Attach the pruner to the final optimizer and continue its clock where a checkpoint left it."""
        trainer = self._trainer
        trainer.load_own_state()
        if trainer.pruner is not None:
            trainer.pruner.attach(trainer.optimizer)
        if self._freeze_observers_step is not None and self._freeze_observers_step > state.max_steps:
            logger.warning(
                "freeze_observers_step is %d, but the run has only %d steps: activation ranges move to its end",
                self._freeze_observers_step,
                state.max_steps,
            )
        self._freeze_observers(state.global_step)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell the order of examples its epoch; accelerate's wrappers of a resumed run need not pass it on."""
        if self._trainer.batch_sampler is not None:
            # The epoch is a fraction of steps; at a boundary it may lie a rounding error below the whole number.
            self._trainer.batch_sampler.set_epoch(int((state.epoch or 0.0) + 1e-6))

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the batches of a step from its first."""
        self._trainer.batches_of_step = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance the pruning schedule after each optimizer step."""
        if self._trainer.pruner is not None:
            self._trainer.pruner.step()
        self._freeze_observers(state.global_step)

    def _freeze_observers(self, step: int) -> None:
        if step == self._freeze_observers_step:
            from pruneofa.quantization.qat import set_observers_frozen

            set_observers_frozen(self._trainer.model, True)
