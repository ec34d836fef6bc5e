"""What a pruner and a lock have in common: masks on a model that hold whatever trains or overwrites its weights."""

import logging

import torch
from torch import nn
from torch.optim import Optimizer

from pruneofa.sparsity.masks import MaskSet, unwrap
from pruneofa.sparsity.optimizer_hooks import OptimizerHooks, watch_optimizers
from pruneofa.sparsity.ownership import set_owner
from pruneofa.sparsity.shards import is_sharded

__all__ = ["MaskKeeper"]

logger = logging.getLogger(__name__)


class MaskKeeper:
    """Holds the masks of a model: through optimizers, and against what writes weights behind its back.

    Such writes (`load_state_dict`, averaged weights, an optimizer that updates without `step()`) are noticed before the
    next step of an optimizer, at `step()` of the keeper and when the model is saved; the zeros are put back, with a
    warning.

    Args:
        model: wrapped or not.
        masks: of the model inside.
    """

    def __init__(self, model: nn.Module, masks: MaskSet) -> None:
        self.model = unwrap(model)
        self.masks = masks
        self._hooks = OptimizerHooks(masks, before=self._before_step, after=self._after_step)
        self._detached = False
        # Of each weight as it was left: what changes with every write by torch's own means, and costs nothing to ask.
        self._left: dict[str, tuple[int, int, int]] = {}
        self._next_look = 0
        set_owner(self.model, self)
        watch_optimizers(self)

    def attach(self, optimizer: Optimizer) -> None:
        """Keep the zeros through every `optimizer.step()`, and their gradients before any clipping.

        Raises:
            ConfigurationError: it is no optimizer of torch, or another pruner or lock of the model is attached.
        """
        set_owner(self.model, self)
        self._hooks.attach(optimizer)
        self._detached = False

    def detach(self) -> None:
        """Remove all hooks. Masks and weights stay as they are until something else changes them."""
        self._hooks.detach()
        self._detached = True

    def move_to(self, model: nn.Module) -> None:
        """Go on with `model`, a copy of the model so far, in its place; attach an optimizer of it after this.

        Where either is sharded, every rank must call this.
        """
        self._hooks.detach()
        self.model = unwrap(model)
        self.masks.move_to(self.model)
        self.masks.fit()
        self._left = {}
        set_owner(self.model, self)

    @property
    def attached(self) -> bool:
        """Whether an optimizer is hooked."""
        return self._hooks.attached

    @property
    def optimizers(self) -> list[Optimizer]:
        """Those that are hooked."""
        return self._hooks.optimizers

    @property
    def detached(self) -> bool:
        """Whether the masks were given up by `detach`."""
        return self._detached

    @property
    def sparsity(self) -> float:
        """Share of zeros that the masks hold, over all masked modules."""
        return self.masks.sparsity()

    def meet(self, optimizer: Optimizer) -> None:
        """Called before each step of any optimizer: one that trains masked weights and was not attached is told of."""
        if not self._detached and self._hooks.is_foreign(optimizer):
            self._meet_foreign(optimizer)

    def put_back_zeros(self, cause: str) -> int:
        """Set to zero what was written under the masks, with a warning.

        Args:
            cause: what may have written them, for the warning.

        Returns:
            How many weights there were (on this rank).
        """
        lost = self.masks.lost()
        if lost:
            self._put_back(lost, cause)
        return sum(lost.values())

    def _put_back(self, lost: dict[str, int], cause: str) -> None:
        first = next(iter(lost))
        logger.warning(
            "%d weights under the masks of %d modules (%s the first) were not zero: %s. They are zero again",
            sum(lost.values()),
            len(lost),
            first,
            cause,
        )
        self._mask_weights()
        self._note_weights()

    def _look(self, cause: str, *, thorough: bool = True) -> None:
        """Put back zeros that were lost since the weights were last left.

        Args:
            cause: for the warning.
            thorough: also look at one weight that seems untouched, each time the next: a write through `.data` leaves
                no trace, but seldom meets one weight alone.
        """
        now = self._states()
        suspects = [name for name, state in now.items() if state != self._left.get(name)]
        names = list(self.masks)
        if thorough and len(suspects) < len(names):
            self._next_look = (self._next_look + 1) % len(names)
            suspects.append(names[self._next_look])
        if suspects and self.masks.lost(suspects):
            self.put_back_zeros(cause)
        else:
            self._left = now

    def _states(self) -> dict[str, tuple[int, int, int]]:
        return {
            # Of a sharded weight torch keeps no such count; it is looked at in its turn.
            name: (0, 0, 0) if is_sharded(weight) else (id(weight), weight._version, weight.data_ptr())
            for name, weight in self.masks.weights()
        }

    def _note_weights(self) -> None:
        self._left = self._states()

    # Bound methods of the keeper itself: as long as an optimizer is hooked, its owner is alive and can be found.
    @torch.no_grad()
    def _before_step(self) -> None:
        """Must do no harm when called twice in a row."""

    @torch.no_grad()
    def _after_step(self) -> None:
        self._mask_weights()
        self._note_weights()

    def _mask_weights(self) -> None:
        """Leave zeros under the masks."""
        self.masks.apply()

    def _meet_foreign(self, optimizer: Optimizer) -> None:
        self._hooks.adopt(optimizer)
