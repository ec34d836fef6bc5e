"""Lock a sparse model's pattern: what is zero stays zero while the rest is trained."""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from pruneofa.architectures.linears import encoder_linears, pooler_linears
from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.bits import pack_bits
from pruneofa.sparsity.masks import MaskSet, unwrap, weight_of
from pruneofa.sparsity.optimizer_hooks import OptimizerHooks
from pruneofa.sparsity.ownership import current_owner, set_owner
from pruneofa.sparsity.pruner import Pruner
from pruneofa.sparsity.shards import whole


class PatternLock:
    """Fixed masks on a model; made by `lock_pattern`."""

    def __init__(self, model: nn.Module, masks: MaskSet) -> None:
        self.model = unwrap(model)
        self.masks = masks
        self._hooks = OptimizerHooks(masks, before=_nothing, after=self._apply)
        set_owner(self.model, self)
        masks.counts()
        masks.apply()

    def attach(self, optimizer: Optimizer) -> None:
        """Keep the zeros through every `optimizer.step()`, and their gradients before any clipping."""
        set_owner(self.model, self)
        self._hooks.attach(optimizer)
        self.masks.apply()

    def detach(self) -> None:
        """Remove all hooks. The zeros stay until something else changes them."""
        self._hooks.detach()

    def move_to(self, model: nn.Module) -> None:
        """Lock `model`, a copy of the model so far, in its place; attach an optimizer of it after this.

        Where either is sharded, every rank must call this.
        """
        self.detach()
        self.model = unwrap(model)
        self.masks.move_to(self.model)
        self.masks.apply()
        set_owner(self.model, self)

    # Of the lock itself: as long as an optimizer is hooked, the lock is alive and can be found.
    def _apply(self) -> None:
        self.masks.apply()

    @property
    def attached(self) -> bool:
        """Whether an optimizer is hooked."""
        return self._hooks.attached

    def step(self) -> None:
        """Nothing to advance: a lock has no schedule. Here so that a loop can treat it as a pruner."""
        self._hooks.hook_gradients()

    @property
    def sparsity(self) -> float:
        """Share of zeros that the masks hold, over all locked modules."""
        return self.masks.sparsity()

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
    over; else every Linear of the encoder and the pooler that has a zero is locked. Weights that a module names in
    `kept_zeros` (row-major indices: those of a model that was int8, whose rounding made zeros of them) stay free.

    Args:
        model: a sparse model.
        optimizer: attached at once when given; else call `attach` on the result.

    Raises:
        ConfigurationError: the model has no zeros to lock.
    """
    inner, owner = unwrap(model), current_owner(model)
    if owner is None:
        names = [*encoder_linears(inner), *pooler_linears(inner)]
        found = {name: _pattern_of(inner, name) for name in names}
    else:
        found = {name: whole(owner.masks[name]) for name in owner.masks}
    sparse = {name: mask for name, mask in found.items() if not bool(mask.all())}
    if not sparse:
        raise ConfigurationError(
            "lock_pattern: no Linear layer of the encoder has a zero weight; give it a pruned model (pruneofa prune)"
        )
    if owner is not None:
        owner.detach()
    if isinstance(owner, Pruner):
        owner.freeze()
    lock = PatternLock(inner, MaskSet(inner, sparse))
    if optimizer is not None:
        lock.attach(optimizer)
    return lock


def _pattern_of(model: nn.Module, name: str) -> torch.Tensor:
    """Which weights of a module are part of its pattern: bool, in the weight's shape."""
    pattern = whole(weight_of(model, name)) != 0
    kept = getattr(model.get_submodule(name), "kept_zeros", None)
    if kept is not None:
        pattern.view(-1)[kept.to(pattern.device).long()] = True
    return pattern


def _nothing() -> None:
    """A lock has nothing to do before a step."""
