"""Exact selection of the k least salient units over one or several tensors, without a sort."""

from collections.abc import Sequence

import numpy as np
import torch


def keep_largest(saliencies: Sequence[torch.Tensor], prune_count: int) -> list[torch.Tensor]:
    """Masks that drop exactly the `prune_count` smallest entries over all tensors together.

    A selection (introselect) finds the threshold in linear time. Entries equal to it go in the order of tensors and
    positions until the count is met, so ties never change the count.

    Args:
        saliencies: floating-point tensors of any shape, without NaN.
        prune_count: how many entries go, between 0 and their total number.

    Returns:
        One boolean tensor for each input, of its shape; True where the entry stays.

    Raises:
        ValueError: `prune_count` is out of range or an entry is NaN.
    """
    total = sum(saliency.numel() for saliency in saliencies)
    if not 0 <= prune_count <= total:
        raise ValueError(f"prune_count is {prune_count}; allowed: 0 to {total}, the number of entries")
    if prune_count == 0:
        return [torch.ones_like(saliency, dtype=torch.bool) for saliency in saliencies]
    exact = torch.float64 if any(saliency.dtype == torch.float64 for saliency in saliencies) else torch.float32
    saliencies = [saliency.detach().to(exact).contiguous() for saliency in saliencies]
    entries = torch.cat([saliency.flatten() for saliency in saliencies])
    threshold = _kth_smallest(entries, prune_count)
    if bool(entries.isnan().any()):
        raise ValueError("saliency has NaN entries; allowed: numbers. Has the training diverged?")
    masks = [saliency > threshold for saliency in saliencies]
    below = sum(int((saliency < threshold).sum()) for saliency in saliencies)
    ties_to_drop = prune_count - below
    for saliency, mask in zip(saliencies, masks, strict=True):
        ties = (saliency == threshold).flatten().nonzero().squeeze(1)
        mask.view(-1)[ties[ties_to_drop:]] = True
        ties_to_drop = max(0, ties_to_drop - len(ties))
    return masks


def _kth_smallest(entries: torch.Tensor, k: int) -> float:
    """The k-th smallest entry, k counted from 1. NumPy's vectorised selection is the faster one on a CPU."""
    if entries.device.type == "cpu":
        return float(np.partition(entries.numpy(), k - 1)[k - 1])
    return float(torch.kthvalue(entries, k).values)
