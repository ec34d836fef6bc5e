"""How much from which tensor: one share for every tensor, or one budget over all of them."""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

import torch

from pruneofa.sparsity.selection import keep_largest

Budget = Callable[[Mapping[str, torch.Tensor], float], dict[str, torch.Tensor]]


def prune_count(sparsity: float, size: int) -> int:
    """`floor(sparsity * size)` for the decimal number that `sparsity` prints as.

    In floating point 0.29 * 100 is 28.999999999999996; the share that was asked for is 29 of 100.
    """
    return math.floor(Fraction(repr(float(sparsity))) * size)


def uniform(saliencies: Mapping[str, torch.Tensor], sparsity: float) -> dict[str, torch.Tensor]:
    """Masks that drop the `floor(s*n)` least salient units of every tensor (PruneOFA, section 3)."""
    return {
        name: keep_largest([saliency], prune_count(sparsity, saliency.numel()))[0]
        for name, saliency in saliencies.items()
    }


def global_(saliencies: Mapping[str, torch.Tensor], sparsity: float) -> dict[str, torch.Tensor]:
    """Masks that drop the `floor(s*N)` least salient units of all tensors together (as oBERT does)."""
    total = sum(saliency.numel() for saliency in saliencies.values())
    masks = keep_largest(list(saliencies.values()), prune_count(sparsity, total))
    return dict(zip(saliencies, masks, strict=True))


BUDGETS: dict[str, Budget] = {"uniform": uniform, "global": global_}
