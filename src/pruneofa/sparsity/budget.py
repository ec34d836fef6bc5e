"""How much from which tensor: one share for every tensor, or one budget over all of them."""

import math
from collections.abc import Callable, Mapping

import torch

from pruneofa.sparsity.selection import keep_largest

Budget = Callable[[Mapping[str, torch.Tensor], float], dict[str, torch.Tensor]]


def prune_count(sparsity: float, size: int) -> int:
    """`floor(sparsity * size)`, guarded against the last bit of the product.

    0.7 * 10 is 6.999999999999999 in binary; the share that was asked for is 7 of 10.
    """
    exact = sparsity * size
    nearest = round(exact)
    return nearest if math.isclose(exact, nearest, rel_tol=1e-12, abs_tol=1e-9) else math.floor(exact)


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
