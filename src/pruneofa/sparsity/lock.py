"""Lock a sparse model's pattern: what is zero stays zero while the rest is trained."""

from typing import Any

from torch import nn
from torch.optim import Optimizer

from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.bits import pack_bits
from pruneofa.sparsity.keeper import MaskKeeper
from pruneofa.sparsity.masks import MaskSet, unwrap
from pruneofa.sparsity.ownership import current_owner
from pruneofa.sparsity.pruner import Pruner
from pruneofa.sparsity.shards import whole
from pruneofa.sparsity.zeros import patterns


class PatternLock(MaskKeeper):
    """Fixed masks on a model; made by `lock_pattern`.

    It holds from the start: gradients are masked as they arise, and every torch optimizer that comes to train the
    locked weights is attached at its first step.
    """

    def __init__(self, model: nn.Module, masks: MaskSet) -> None:
        super().__init__(model, masks)
        masks.counts()
        self._after_step()
        self._hooks.hook_gradients()

    def attach(self, optimizer: Optimizer) -> None:
        """Keep the zeros through every `optimizer.step()`, and their gradients before any clipping."""
        super().attach(optimizer)
        self._look("weights were written before an optimizer was attached")

    def move_to(self, model: nn.Module) -> None:
        """Lock `model`, a copy of the model so far, in its place; attach an optimizer of it after this.

        Where either is sharded, every rank must call this.
        """
        super().move_to(model)
        self._after_step()
        self._hooks.hook_gradients()

    def step(self) -> None:
        """See that the zeros are there; a lock has no schedule to advance, but a loop can treat it as a pruner."""
        if not self._detached:
            self._hooks.hook_gradients()
            self._look("something wrote weights after the last optimizer.step()", thorough=False)

    def _before_step(self) -> None:
        self._look("something wrote weights before optimizer.step()")

    @property
    def target(self) -> float:
        """The sparsity that is kept: what the masks hold."""
        return self.sparsity

    def state_dict(self) -> dict[str, Any]:
        """The masks, one bit a weight."""
        return {"masks": {name: pack_bits(whole(self.masks[name])) for name in self.masks}}


def lock_pattern(model: nn.Module, optimizer: Optimizer | None = None) -> PatternLock:
    """Freeze the zeros of a sparse model (PruneOFA, section 3: mask = weight is non-zero).

    On a model that still has a `Pruner` (or an earlier lock), its masks are frozen as they are and the new lock takes
    over, with the optimizers that were attached; else every Linear of the encoder and the pooler that has a zero is
    locked. Weights that a module names in `kept_zeros` (row-major indices: those of a model that was int8, whose
    rounding made zeros of them) stay free, and so does a weight that is zero as a whole (an adapter's).

    Args:
        model: a sparse model.
        optimizer: attached at once when given; else every optimizer of torch is at its first step on locked weights.

    Raises:
        ConfigurationError: the model has no zeros to lock.
    """
    inner, owner = unwrap(model), current_owner(model)
    held = owner is not None and len(owner.masks) and not (owner.detached and owner.masks.lost())
    found = {name: whole(owner.masks[name]) for name in owner.masks} if held else patterns(inner)
    sparse = {name: mask for name, mask in found.items() if not bool(mask.all())}
    if not sparse:
        raise ConfigurationError(
            "lock_pattern: no Linear layer of the encoder has a zero weight; give it a pruned model (pruneofa prune)"
        )
    optimizers = [optimizer] if optimizer is not None else []
    if owner is not None:
        optimizers = optimizers or owner.optimizers
        owner.detach()
    if isinstance(owner, Pruner):
        owner.freeze()
    lock = PatternLock(inner, MaskSet(inner, sparse))
    for number, one in enumerate(optimizers):
        lock.attach(one) if number == 0 else lock.meet(one)
    return lock
