"""Gradual magnitude pruning of a model while an optimizer trains it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from pruneofa.errors import CheckpointError
from pruneofa.sparsity.budget import BUDGETS
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.sparsity.masks import MaskSet, pack_bits, set_masked_to_zero, unpack_bits, weight_of
from pruneofa.sparsity.optimizer_hooks import OptimizerHooks
from pruneofa.sparsity.pattern import PATTERNS
from pruneofa.sparsity.ranks import check_ranks_agree
from pruneofa.sparsity.saliency import SALIENCIES
from pruneofa.sparsity.schedule import is_update, sparsity_at
from pruneofa.sparsity.targets import target_modules

_OWNER = "_pruneofa_owner"


class Pruner:
    """Prunes a model step by step along the schedule of a `SparsityConfig` (PruneOFA, section 3).

    Between re-selections the masked weights are +0.0 in the model. The dense values under the mask, from which a
    weight may come back, live here until `freeze_step`; as in the authors' code they get no gradient but still move
    by the optimizer's momentum and weight decay.

    Example:
        >>> pruner = Pruner(model, SparsityConfig(target_sparsity=0.9, end_step=5_000, update_every=100))
        >>> pruner.attach(optimizer)
        >>> for batch in batches:
        ...     model(**batch).loss.backward()
        ...     clip_grad_norm_(model.parameters(), 1.0)
        ...     optimizer.step()
        ...     optimizer.zero_grad()
        ...     pruner.step()

    Args:
        model: the model, wrapped (DDP) or not.
        config: what to prune and when.

    Raises:
        ConfigurationError: a pattern of `targets` matches no Linear module.
    """

    def __init__(self, model: nn.Module, config: SparsityConfig) -> None:
        self.config = config
        self.model = model
        self.completed_steps = 0
        names = target_modules(model, config)
        self.masks = MaskSet(model, {name: torch.ones_like(weight_of(model, name), dtype=torch.bool) for name in names})
        self._hidden: dict[str, torch.Tensor] | None = {}
        self._hooks = OptimizerHooks(self.masks, before=self._restore_hidden, after=self._hide)
        model.__dict__[_OWNER] = self

    def attach(self, optimizer: Optimizer) -> None:
        """Keep masked weights at zero through every `optimizer.step()`, and their gradients before any clipping.

        Call it when the optimizer holds the parameters that will be trained, that is after wrapping or sharding, and
        before the first step. The first cut is made here when `begin_step` is 0.
        """
        self._hooks.attach(optimizer)
        if self.completed_steps == 0 and is_update(0, self.config):
            self._reselect()

    def detach(self) -> None:
        """Remove all hooks. Masks and weights stay as they are."""
        self._hooks.detach()

    def step(self) -> None:
        """Advance the schedule by one; call it once after each `optimizer.step()`.

        Re-selects the masks where the schedule says so, and drops the values under the mask at the last of them.
        """
        self.completed_steps += 1
        self.masks.hook_gradients()
        if is_update(self.completed_steps, self.config):
            self._reselect()
        if self.completed_steps >= self.config.last_update:
            self._hidden = None

    @property
    def target(self) -> float:
        """Sparsity that the schedule wants now."""
        return sparsity_at(self.completed_steps, self.config)

    @property
    def sparsity(self) -> float:
        """Share of zeros that the masks hold now, over all pruned modules."""
        return self.masks.sparsity()

    @property
    def frozen(self) -> bool:
        """Whether the masks can't change any more."""
        return self._hidden is None

    @torch.no_grad()
    def _reselect(self) -> None:
        """Select the masks anew from the dense weights, then hide what they drop."""
        pattern = PATTERNS[self.config.pattern]
        saliency = SALIENCIES[self.config.saliency]
        with self._dense_weights():
            units = {name: pattern.unit_saliency(saliency(weight)) for name, weight in self.masks.weights()}
            selected = BUDGETS[self.config.scope](units, sparsity_at(self.completed_steps, self.config))
            for name, unit_mask in selected.items():
                self.masks[name] = pattern.expand(unit_mask, self.masks.weight(name).shape)
        check_ranks_agree(self.masks, self.completed_steps)

    @contextmanager
    def _dense_weights(self) -> Iterator[None]:
        self._restore_hidden()
        yield
        self._hide()

    @torch.no_grad()
    def _restore_hidden(self) -> None:
        """Put the values under the mask back into the weights. Either is zero where the other is not."""
        for name, hidden in (self._hidden or {}).items():
            self.masks.weight(name).add_(hidden)

    @torch.no_grad()
    def _hide(self) -> None:
        """Move what lies under the mask out of the weights and leave +0.0."""
        for name, weight in self.masks.weights():
            mask = self.masks.on_device(name, weight)
            if self._hidden is not None:
                if name not in self._hidden:
                    self._hidden[name] = torch.empty_like(weight)
                torch.where(mask, weight.new_zeros(()), weight, out=self._hidden[name])
            set_masked_to_zero(weight, mask)

    def state_dict(self) -> dict[str, Any]:
        """Clock, masks (one bit a weight) and, until the masks are frozen, the values under them (those alone)."""
        state: dict[str, Any] = {"completed_steps": self.completed_steps, "frozen": self.frozen}
        state["masks"] = {name: pack_bits(self.masks[name]) for name in self.masks}
        state["hidden"] = {
            name: hidden[~self.masks.on_device(name, hidden)].cpu() for name, hidden in (self._hidden or {}).items()
        }
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()` of a pruner over the same modules; the model's weights are loaded apart.

        Raises:
            CheckpointError: the state belongs to other modules or other shapes.
        """
        if list(state["masks"]) != list(self.masks):
            raise CheckpointError(
                f"pruner state holds masks of {len(state['masks'])} modules, this pruner has {len(list(self.masks))} "
                "(or in another order); resume with the model and the targets of the run that wrote it"
            )
        for name, weight in self.masks.weights():
            packed = state["masks"][name]
            if packed.numel() != -(-weight.numel() // 8):
                raise CheckpointError(
                    f"pruner state: the mask of {name} has {packed.numel()} bytes, its weight of shape "
                    f"{tuple(weight.shape)} needs {-(-weight.numel() // 8)}"
                )
            self.masks[name] = unpack_bits(packed, weight.shape).to(weight.device)
        self.completed_steps = int(state["completed_steps"])
        self._hidden = None if state["frozen"] else {}
        for name, values in state["hidden"].items():
            weight, mask = self.masks.weight(name), self.masks[name]
            if values.numel() != mask.numel() - int(mask.sum()):
                raise CheckpointError(f"pruner state: {name} has {values.numel()} values under its mask, another count")
            hidden = torch.zeros_like(weight)
            hidden[~mask] = values.to(weight.device, weight.dtype)
            assert self._hidden is not None
            self._hidden[name] = hidden


def current_owner(model: nn.Module) -> Any:
    """The pruner or lock that holds the masks of `model`, if any."""
    return model.__dict__.get(_OWNER)


def set_owner(model: nn.Module, owner: Any) -> None:
    """Record who holds the masks of `model`."""
    model.__dict__[_OWNER] = owner
