"""Lock a sparse model's pattern: what is zero stays zero while the rest is trained."""

from typing import Any

from torch import nn
from torch.optim import Optimizer

from pruneofa.architectures import encoder_linears, pooler_linears
from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.masks import MaskSet, pack_bits, weight_of
from pruneofa.sparsity.optimizer_hooks import OptimizerHooks
from pruneofa.sparsity.pruner import Pruner, current_owner, set_owner


class PatternLock:
    """Fixed masks on a model; made by `lock_pattern`."""

    def __init__(self, model: nn.Module, masks: MaskSet) -> None:
        self.model = model
        self.masks = masks
        self._hooks = OptimizerHooks(masks, before=_nothing, after=masks.apply)
        set_owner(model, self)
        masks.apply()

    def attach(self, optimizer: Optimizer) -> None:
        """Keep the zeros through every `optimizer.step()`, and their gradients before any clipping."""
        self._hooks.attach(optimizer)

    def detach(self) -> None:
        """Remove all hooks. The zeros stay until something else changes them."""
        self._hooks.detach()

    def step(self) -> None:
        """Nothing to advance: a lock has no schedule. Here so that a loop can treat it as a pruner."""

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
        return {"masks": {name: pack_bits(self.masks[name]) for name in self.masks}}


def lock_pattern(model: nn.Module, optimizer: Optimizer | None = None) -> PatternLock:
    """Freeze the zeros of a sparse model (PruneOFA, section 3: mask = weight is non-zero).

    On a model that still has a `Pruner`, its masks are frozen as they are and the lock takes over; else every Linear
    of the encoder and the pooler that has a zero is locked.

    Args:
        model: a sparse model.
        optimizer: attached at once when given; else call `attach` on the result.

    Raises:
        ConfigurationError: the model has no zeros to lock.
    """
    owner = current_owner(model)
    if isinstance(owner, Pruner):
        owner.detach()
        masks = MaskSet(model, {name: owner.masks[name] for name in owner.masks})
    else:
        names = [*encoder_linears(model), *pooler_linears(model)]
        nonzero = {name: weight_of(model, name).detach() != 0 for name in names}
        masks = MaskSet(model, {name: mask for name, mask in nonzero.items() if not bool(mask.all())})
    if not list(masks):
        raise ConfigurationError(
            "lock_pattern: no Linear layer of the encoder has a zero weight; give it a pruned model (pruneofa prune)"
        )
    lock = PatternLock(model, masks)
    if optimizer is not None:
        lock.attach(optimizer)
    return lock


def _nothing() -> None:
    """A lock has nothing to do before a step."""
