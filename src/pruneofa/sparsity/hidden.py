"""The dense values under the masks, from which a pruned weight may come back."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from pruneofa.ranks import is_first
from pruneofa.sparsity.bits import move_back, move_masked, take_masked
from pruneofa.sparsity.masks import MaskSet
from pruneofa.sparsity.shards import as_shard, is_sharded, laid_out_like, local, same_layout, whole


class HiddenValues:
    """Takes the values under the masks out of the model's weights, and puts them back for an optimizer's step.

    The authors keep the dense weights and multiply by the mask in the forward pass; here the model's weights hold
    +0.0 instead, so that whatever reads or saves them sees a sparse model. Both move alike, bit for bit.

    Args:
        masks: whose weights are split.
    """

    def __init__(self, masks: MaskSet) -> None:
        self._masks = masks
        self._values: dict[str, torch.Tensor] | None = {}
        self._in_place = False

    @property
    def dropped(self) -> bool:
        """Whether the values are gone for good, so that no weight can come back."""
        return self._values is None

    @property
    def in_place(self) -> bool:
        """Whether the values are in the weights now: within an optimizer's step."""
        return self._in_place

    def restore(self) -> None:
        """Put the values back into the weights. No effect where they already are (a step that was interrupted)."""
        if self._in_place:
            return
        for name, values in (self._values or {}).items():
            weight = self._masks.weight(name)
            if not same_layout(values, weight) or values.dtype != weight.dtype:
                values = laid_out_like(values, weight).to(weight.dtype)
                assert self._values is not None
                self._values[name] = values
            move_back(weight, values)
        self._in_place = True

    def hide(self) -> None:
        """Move what lies under the masks out of the weights and leave +0.0.

        Where the values are not in the weights, what lies there was written from outside: it replaces the values that
        it is instead of, and the others stay.
        """
        move = move_masked if self._in_place else take_masked
        self._in_place = False
        if self._values is None:
            self._masks.apply()
            return
        for name, weight in self._masks.weights():
            values = self._values.get(name)
            if values is None:
                values = as_shard(torch.zeros_like(local(weight)), weight)
            elif not same_layout(values, weight) or values.dtype != weight.dtype:
                values = laid_out_like(values, weight).to(weight.dtype)
            self._values[name] = values
            move(weight, self._masks.fitted(name, weight), out=values)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Within the block the weights are dense."""
        self.restore()
        try:
            yield
        finally:
            self.hide()

    def fit(self) -> None:
        """Lie where the weights lie now, after the model was moved, sharded or replaced by a copy."""
        for name, values in (self._values or {}).items():
            assert self._values is not None
            self._values[name] = laid_out_like(values, self._masks.weight(name))

    def clear(self) -> None:
        """Set every value to zero."""
        if self._in_place:
            self.hide()
        for values in (self._values or {}).values():
            local(values).zero_()

    def drop(self) -> None:
        """Forget the values; the masks can't change any more without loss."""
        if self._in_place:
            self.hide()
        self._values = None

    def state(self) -> dict[str, torch.Tensor]:
        """For each module the values under its mask alone, in row-major order, on the CPU.

        Where weights are split over ranks, every rank must call this, and the first alone gets them.
        """
        state = {}
        for name, values in (self._values or {}).items():
            all_values, mask = whole(values), whole(self._masks.fitted(name, values))
            if not is_sharded(values) or is_first():
                state[name] = all_values[~mask].cpu()
        return state

    def load(self, state: Mapping[str, torch.Tensor] | None) -> None:
        """Continue from `state()`; None when the values were dropped. Needs the masks of that time."""
        self._in_place = False
        if state is None:
            self._values = None
            return
        self._values = {}
        for name, packed in state.items():
            weight = self._masks.weight(name)
            mask = whole(self._masks[name])
            values = torch.zeros(mask.shape, dtype=weight.dtype, device=mask.device)
            values[~mask] = packed.to(mask.device, weight.dtype)
            self._values[name] = laid_out_like(values, weight)
