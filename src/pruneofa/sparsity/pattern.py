"""What shape goes: patterns turn the saliency of weights into that of the units that are pruned together."""

from typing import Protocol

import torch


class Pattern(Protocol):
    """How weights are grouped into units that live or die together."""

    def unit_saliency(self, saliency: torch.Tensor) -> torch.Tensor:
        """Saliency of each unit from that of each weight `[rows, columns]`."""

    def expand(self, unit_mask: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Mask of each weight, of `shape`, from that of each unit."""


class Unstructured:
    """Every weight is a unit of its own."""

    def unit_saliency(self, saliency: torch.Tensor) -> torch.Tensor:
        """Return `saliency` as it is."""
        return saliency

    def expand(self, unit_mask: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Return `unit_mask` in `shape`."""
        return unit_mask if unit_mask.shape == shape else unit_mask.reshape(shape)


PATTERNS: dict[str, Pattern] = {"unstructured": Unstructured()}
