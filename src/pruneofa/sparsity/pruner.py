"""Gradual magnitude pruning of a model while an optimizer trains it."""

import logging
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.sparsity.bits import pack_bits, unpack_bits
from pruneofa.sparsity.budget import BUDGETS
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.sparsity.hidden import HiddenValues
from pruneofa.sparsity.keeper import MaskKeeper
from pruneofa.sparsity.masks import MaskSet, unwrap
from pruneofa.sparsity.pattern import PATTERNS
from pruneofa.sparsity.ranks import check_ranks_agree
from pruneofa.sparsity.saliency.saliencies import saliency_of
from pruneofa.sparsity.saliency.statistics import WeightStatistics
from pruneofa.sparsity.schedule import is_update, sparsity_at
from pruneofa.sparsity.shards import whole
from pruneofa.sparsity.targets import starting_masks, target_modules

logger = logging.getLogger(__name__)

_STATE_KEYS = ("completed_steps", "frozen", "shapes", "masks", "hidden")


class Pruner(MaskKeeper):
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

    A model that is sparse already (`zeros.is_sparse`) keeps its zeros: the masks begin with them, and the ramp begins
    at its sparsity.

    Args:
        model: the model, wrapped (DDP, torch.compile) or not; modules are named as in the model inside.
        config: what to prune and when.

    Raises:
        ConfigurationError: a pattern of `targets` matches no Linear module, a target's weight is shared with another
            module, the model has more zeros than `target_sparsity` wants, it has a pruner or lock that is still
            attached, or the saliency needs statistics before there are any.
    """

    def __init__(self, model: nn.Module, config: SparsityConfig) -> None:
        self.config = config
        self.completed_steps = 0
        inner = unwrap(model)
        masks = starting_masks(inner, target_modules(inner, config), config)
        super().__init__(inner, MaskSet(inner, masks))
        self.masks.counts()
        self._start = self.masks.sparsity()
        self._hidden = HiddenValues(self.masks)
        self._saliency = saliency_of(config.saliency)
        self._statistics = WeightStatistics(self.masks, self._saliency)
        if self._saliency.needs and config.begin_step == 0 and self.target > self._start:
            raise ConfigurationError(
                f"saliency {config.saliency!r} needs {' and '.join(sorted(self._saliency.needs))} before the first "
                "cut; set begin_step to 1 or more, or initial_sparsity to 0"
            )
        self._was_warned = False

    def attach(self, optimizer: Optimizer) -> None:
        """Keep masked weights at zero through every `optimizer.step()`, and their gradients before any clipping.

        Call it when the optimizer holds the parameters that will be trained, that is after wrapping or sharding, and
        before the first step; to change to another optimizer, call it again. Optimizers inside it (that of SAM) are
        attached when they first step. The first cut is made here when `begin_step` is 0.
        """
        super().attach(optimizer)
        if not self.frozen:
            self._statistics.watch(self.model)
        if self.completed_steps == 0:
            self._follow_schedule()
        self._look("weights were written before the optimizer was attached")

    def detach(self) -> None:
        """Remove all hooks. Masks and weights stay as they are until something else changes them."""
        super().detach()
        self._statistics.unwatch()

    def move_to(self, model: nn.Module) -> None:
        """Go on with `model`, a copy of the model so far, in its place; attach an optimizer of it after this.

        Where either is sharded, every rank must call this.
        """
        self._statistics.unwatch()
        super().move_to(model)
        self._hidden.fit()
        self._after_step()

    def step(self) -> None:
        """Advance the schedule by one; call it once after each `optimizer.step()`.

        Re-selects the masks where the schedule says so, and drops the values under the mask at the last of them.

        Raises:
            ConfigurationError: no optimizer is attached, so nothing would keep the zeros.
            MaskMismatchError: the ranks of a distributed run selected different masks.
        """
        if not self.attached:
            raise ConfigurationError("Pruner.step: no optimizer is attached; call pruner.attach(optimizer) first")
        self.completed_steps += 1
        self._hooks.hook_gradients()
        if not self.frozen:
            self._statistics.watch(self.model)
        self._look(
            "something other than a step of an attached optimizer wrote weights (load_state_dict, averaged weights, an "
            "optimizer that updates without step())",
            thorough=False,
        )
        self._follow_schedule()

    def freeze(self) -> None:
        """Let the masks rest as they are from now on, and drop the values under them."""
        self._hidden.drop()
        self._statistics.unwatch()
        self._statistics.forget()
        self._note_weights()

    @property
    def target(self) -> float:
        """Sparsity that the schedule wants now."""
        return sparsity_at(self.completed_steps, self.config, self._start)

    @property
    def frozen(self) -> bool:
        """Whether the masks can't change any more."""
        return self._hidden.dropped

    def _before_step(self) -> None:
        if not self._hidden.in_place:
            self._look("something wrote weights before optimizer.step()")
            self._hidden.restore()

    def _mask_weights(self) -> None:
        self._hidden.hide()

    def _meet_foreign(self, optimizer: Optimizer) -> None:
        if self.attached:
            super()._meet_foreign(optimizer)
        elif not self._was_warned:
            self._was_warned = True
            logger.warning(
                "%s trains weights that a Pruner is to prune, but no optimizer is attached, so nothing is pruned; call "
                "pruner.attach(optimizer) before the first step",
                type(optimizer).__name__,
            )

    def _follow_schedule(self) -> None:
        if not self.frozen and is_update(self.completed_steps, self.config):
            self._reselect()
        if self.completed_steps >= self.config.last_update:
            self.freeze()

    @torch.no_grad()
    def _reselect(self) -> None:
        """Select the masks anew from the dense weights, then hide what they drop."""
        if self._saliency.needs and self.completed_steps == 0:
            return  # nothing goes yet, see __init__
        if self._saliency.update is not None:
            self._hidden.clear()  # what was made up for can't come back
        with self._hidden.restored():
            seen = {name: self._statistics.seen(name, weight) for name, weight in self.masks.weights()}
            pattern, scores = PATTERNS[self.config.pattern], self._saliency.scores
            units = {name: pattern.unit_saliency(scores(one)) for name, one in seen.items()}
            for name, unit_mask in BUDGETS[self.config.scope](units, self.target).items():
                weight = self.masks.weight(name)
                mask = pattern.expand(unit_mask, weight.shape)
                if self._start:  # a zero that the model came with stays one, also where a tensor has more than wanted
                    mask = mask & (self.masks.fitted(name, weight) | (weight != 0))
                self.masks[name] = mask
                if self._saliency.update is not None:
                    weight.copy_(self._saliency.update(seen[name], mask))
        self._statistics.forget()
        self._note_weights()
        self.masks.counts()
        check_ranks_agree(self.masks, self.completed_steps)

    def state_dict(self) -> dict[str, Any]:
        """Clock, masks (one bit a weight) and, until those are frozen, the values under them and the saliency's sums.

        The same however the weights are split over ranks; every rank must call this then, and the first alone gets the
        values.
        """
        return {
            "completed_steps": self.completed_steps,
            "start": self._start,
            "frozen": self.frozen,
            "shapes": {name: list(self.masks[name].shape) for name in self.masks},
            "masks": {name: pack_bits(whole(self.masks[name])) for name in self.masks},
            "hidden": self._hidden.state(),
            **self._statistics.state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()` of a pruner over the same modules; the model's weights are loaded apart.

        Raises:
            CheckpointError: the state belongs to other modules or other shapes, or is damaged; nothing changed.
        """
        masks = self._checked_masks(state)
        self._statistics.load(state)
        for name, mask in masks.items():
            self.masks[name] = mask
        self.masks.counts()
        self.completed_steps = int(state["completed_steps"])
        self._start = float(state.get("start", 0.0))  # earlier releases began at 0, whatever zeros there were
        self._hidden.load(None if state["frozen"] else state["hidden"])
        self.masks.fit()
        self._left = {}

    def _checked_masks(self, state: dict[str, Any]) -> dict[str, torch.Tensor]:
        """The unpacked masks of a state that fits this pruner."""
        if missing := [key for key in _STATE_KEYS if key not in state]:
            raise CheckpointError(f"pruner state has no {', '.join(missing)}; it must come from Pruner.state_dict()")
        if list(state["masks"]) != list(self.masks):
            raise CheckpointError(
                f"pruner state holds masks of {len(state['masks'])} modules, this pruner has {len(self.masks)} "
                "(or other ones); resume with the model and the targets of the run that wrote it"
            )
        masks = {}
        for name, weight in self.masks.weights():
            stored, packed, size = state["shapes"].get(name), state["masks"][name], -(-weight.numel() // 8)
            if stored != list(weight.shape):
                raise CheckpointError(
                    f"pruner state: the mask of {name} has shape {stored}, its weight {list(weight.shape)}; resume "
                    "with the model of the run that wrote it"
                )
            if packed.dtype != torch.uint8 or packed.numel() != size:
                raise CheckpointError(
                    f"pruner state: the mask of {name} is {packed.numel()} entries of {packed.dtype}, but a weight of "
                    f"shape {list(weight.shape)} needs {size} of torch.uint8"
                )
            masks[name] = unpack_bits(packed, weight.shape)
        for name, values in state["hidden"].items():
            zeros = masks[name].numel() - int(masks[name].sum()) if name in masks else 0
            if name not in masks or values.shape != (zeros,) or state["frozen"]:
                raise CheckpointError(
                    f"pruner state: {name} has values of shape {list(values.shape)} under its mask, which drops "
                    f"{zeros} weights{' and is frozen' if state['frozen'] else ''}; the state is damaged"
                )
        return masks
