"""How much from which tensor: one share for every tensor, or one budget over all of them."""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

import torch

from pruneofa.sparsity.selection import keep_largest
from pruneofa.sparsity.shards import is_sharded

Budget = Callable[[Mapping[str, torch.Tensor], float], dict[str, torch.Tensor]]


def prune_count(sparsity: float, size: int) -> int:
    """`floor(sparsity * size)` for the decimal number that `sparsity` prints as.

    In floating point 0.29 * 100 is 28.999999999999996; the share that was asked for is 29 of 100.
    """
    return math.floor(Fraction(repr(float(sparsity))) * size)


def uniform(saliencies: Mapping[str, torch.Tensor], sparsity: float) -> dict[str, torch.Tensor]:
    """Masks that drop the `floor(s*n)` least salient units of every tensor (PruneOFA, section 3)."""
    masks = _select([[saliency] for saliency in saliencies.values()], sparsity)
    return dict(zip(saliencies, (mask for [mask] in masks), strict=True))


def global_(saliencies: Mapping[str, torch.Tensor], sparsity: float) -> dict[str, torch.Tensor]:
    """Masks that drop the `floor(s*N)` least salient units of all tensors together (as oBERT does)."""
    [masks] = _select([list(saliencies.values())], sparsity)
    return dict(zip(saliencies, masks, strict=True))


def _select(groups: list[list[torch.Tensor]], sparsity: float) -> list[list[torch.Tensor]]:
    """The same masks whether the tensors lie whole on every rank or split over them."""
    counts = [prune_count(sparsity, sum(saliency.numel() for saliency in group)) for group in groups]
    if any(is_sharded(saliency) for group in groups for saliency in group):
        from pruneofa.sparsity.sharded_selection import keep_largest_over_ranks

        return keep_largest_over_ranks(groups, counts)
    return [keep_largest(group, count) for group, count in zip(groups, counts, strict=True)]


BUDGETS: dict[str, Budget] = {"uniform": uniform, "global": global_}
