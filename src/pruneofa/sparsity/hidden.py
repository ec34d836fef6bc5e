"""The dense values under the masks, from which a pruned weight may come back."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from pruneofa.sparsity.bits import move_back, move_masked
from pruneofa.sparsity.masks import MaskSet


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

    def restore(self) -> None:
        """Put the values back into the weights. No effect where they already are (a step that was interrupted)."""
        if self._in_place:
            return
        for name, values in (self._values or {}).items():
            weight = self._masks.weight(name)
            if values.device != weight.device or values.dtype != weight.dtype:
                values = values.to(weight.device, weight.dtype)
                assert self._values is not None
                self._values[name] = values
            move_back(weight, values)
        self._in_place = True

    def hide(self) -> None:
        """Move what lies under the masks out of the weights and leave +0.0."""
        self._in_place = False
        if self._values is None:
            self._masks.apply()
            return
        for name, weight in self._masks.weights():
            values = self._values.get(name)
            if values is None or values.device != weight.device or values.dtype != weight.dtype:
                values = self._values[name] = torch.zeros_like(weight, requires_grad=False)
            move_masked(weight, self._masks.on_device(name, weight), out=values)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Within the block the weights are dense."""
        self.restore()
        try:
            yield
        finally:
            self.hide()

    def drop(self) -> None:
        """Forget the values; the masks can't change any more without loss."""
        if self._in_place:
            self.hide()
        self._values = None

    def state(self) -> dict[str, torch.Tensor]:
        """For each module the values under its mask alone, in row-major order, on the CPU."""
        return {
            name: values[~self._masks.on_device(name, values)].cpu() for name, values in (self._values or {}).items()
        }

    def load(self, state: Mapping[str, torch.Tensor] | None) -> None:
        """Continue from `state()`; None when the values were dropped. Needs the masks of that time."""
        self._in_place = False
        if state is None:
            self._values = None
            return
        self._values = {}
        for name, packed in state.items():
            weight = self._masks.weight(name)
            values = torch.zeros_like(weight, requires_grad=False)
            values[~self._masks.on_device(name, weight)] = packed.to(weight.device, weight.dtype)
            self._values[name] = values
