"""Scales and levels of weights and embedding tables."""

import torch
from torch import Tensor, nn

from pruneofa.quantization.fake import fake_quantize
from pruneofa.quantization.grid import SMALLEST_SCALE, WeightGrid

__all__ = ["WeightQuantizer", "fake_quantize_weight", "integer_weight", "weight_scale"]

# Shares of the absmax scale among which the one with the smallest squared error is found.
_SHARES = tuple(share / 100 for share in range(100, 19, -1))


@torch.no_grad()
def weight_scale(weight: Tensor, grid: WeightGrid) -> Tensor:
    """Scale of a weight [R, C]: float32 [R] per row, [1] per tensor; 1 for an all-zero row."""
    weight = weight.detach().float()
    magnitude = weight.abs()
    largest = magnitude.amax(dim=1) if grid.per_row else magnitude.amax().reshape(1)
    scale = largest / grid.divisor * grid.step
    scale = torch.where(scale < SMALLEST_SCALE, torch.ones_like(scale), scale)
    return _least_squares_scale(weight, scale, grid) if grid.least_squares else scale


def _least_squares_scale(weight: Tensor, scale: Tensor, grid: WeightGrid) -> Tensor:
    """The share of `scale`, per row or tensor, with the smallest squared error; the largest among equals."""
    best, smallest = scale, torch.full_like(scale, float("inf"), dtype=torch.float64)
    for share in _SHARES:
        candidate = scale * share
        candidate = torch.where(candidate < SMALLEST_SCALE, scale, candidate)
        difference = fake_quantize_weight(weight, candidate, grid) - weight
        errors = difference.square().sum(dim=1, dtype=torch.float64)
        errors = errors if grid.per_row else errors.sum().reshape(1)
        best = torch.where(errors < smallest, candidate, best)
        smallest = torch.minimum(errors, smallest)
    return best


def fake_quantize_weight(weight: Tensor, scale: Tensor, grid: WeightGrid) -> Tensor:
    """`weight` [R, C] on the grid of `scale` ([R] or [1]), float32; differentiable. Zeros come out as +0.0."""
    return fake_quantize(weight.float(), scale, torch.zeros_like(scale, dtype=torch.int32), grid.lowest, grid.highest)


@torch.no_grad()
def integer_weight(weight: Tensor, scale: Tensor, grid: WeightGrid) -> Tensor:
    """The levels q of `weight` [R, C]: int8 [R, C], `round(weight * (1 / scale))` clamped to the range of `grid`.

    `q.float() * scale[:, None]` equals `fake_quantize_weight` bit for bit, and the levels of that product are q again.
    """
    levels = torch.round(weight.detach().float() * scale.reciprocal()[:, None])
    return levels.clamp(grid.lowest, grid.highest).to(torch.int8)


class WeightQuantizer(nn.Module):
    """Puts a weight on its int8 grid; the scale follows the weight, unless `fix_scale` gave it one.

    Buffer: `scale`, float32 [R] or [1], only where it is fixed.
    """

    scale: Tensor | None

    def __init__(self, grid: WeightGrid) -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("scale", None)

    def fix_scale(self, scale: Tensor) -> None:
        """Use this scale from now on: a weight that lies on its grid is then left bit for bit as it is."""
        self.scale = scale

    def scale_of(self, weight: Tensor) -> Tensor:
        """The scale that holds for `weight` now."""
        return weight_scale(weight, self.grid) if self.scale is None else self.scale

    def forward(self, weight: Tensor) -> Tensor:
        """Fake-quantized `weight`, in its own dtype; computed in float32."""
        return fake_quantize_weight(weight, self.scale_of(weight), self.grid).to(weight.dtype)
