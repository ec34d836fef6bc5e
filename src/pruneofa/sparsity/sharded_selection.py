"""The selection of `keep_largest` over tensors that lie split over ranks, without gathering them anywhere.

Floating-point numbers are in the order of their bits, once those of negative ones are flipped. A radix search over
these bits therefore finds the exact threshold: each pass counts the next digit of the entries that are still in
question, on each rank its own, and sums the counts over the ranks. What is sent is a few thousand counts, whatever the
size of the tensors, and the masks are those that one process would have selected, bit for bit.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.shards import ShardGroup, as_shard, is_sharded, local, shard_group

Groups = Sequence[Sequence[Tensor]]

_DIGIT = 11  # bits of a pass: three for float32
_FLIPPED = {torch.float32: (torch.int32, 32), torch.float64: (torch.int64, 64)}


def keep_largest_over_ranks(groups: Groups, prune_counts: Sequence[int]) -> list[list[Tensor]]:
    """For each group of tensors what `keep_largest` gives for its count, where some tensors are sharded.

    Every rank must call this with the same groups and counts. Of entries equal to the threshold those go that come
    first in the order of tensors and positions, as in one process: rows are on the ranks in their order.

    Args:
        groups: saliencies, DTensors split by rows, or plain ones that every rank holds.
        prune_counts: how many entries of each group go.

    Returns:
        Masks laid out as the saliencies; True where the entry stays.

    Raises:
        ValueError: a count is out of range, or an entry on any rank is NaN.
        ConfigurationError: a tensor is laid out in another way, or they don't share their ranks.
    """
    every = [saliency for group in groups for saliency in group]
    for group, count in zip(groups, prune_counts, strict=True):
        total = sum(saliency.numel() for saliency in group)
        if not 0 <= count <= total:
            raise ValueError(f"prune_count is {count}; allowed: 0 to {total}, the number of entries")
    shards = _common_group(every)
    exact = torch.float64 if any(saliency.dtype == torch.float64 for saliency in every) else torch.float32
    thresholds, to_drop = _thresholds(groups, prune_counts, shards, exact)
    before = _ties_before(groups, thresholds, shards, exact)
    masks: list[list[Tensor]] = []
    for number, group in enumerate(groups):
        masks.append([])
        for saliency, offset in zip(group, before[number], strict=True):
            keys = _keys(saliency, exact)
            mask = keys > thresholds[number]
            ties = (keys == thresholds[number]).flatten().nonzero().squeeze(1)
            mask.view(-1)[ties[max(0, to_drop[number] - offset) :]] = True
            masks[-1].append(as_shard(mask, saliency))
    return masks


def _common_group(saliencies: Sequence[Tensor]) -> ShardGroup:
    groups = [shard_group(saliency) for saliency in saliencies if is_sharded(saliency)]
    if any(group.group != groups[0].group for group in groups):
        raise ConfigurationError("the pruned weights are split over different sets of ranks; shard them over one mesh")
    return groups[0]


def _thresholds(
    groups: Groups, prune_counts: Sequence[int], shards: ShardGroup, exact: torch.dtype
) -> tuple[list[int], list[int]]:
    """For each group the key of its `prune_count`-th smallest entry, and how many of those equal to it go.

    For a count of 0 that is the smallest key there can be, which no number has.
    """
    device, bits = local(groups[0][0]).device, _FLIPPED[exact][1]
    prefixes, left, high = [0] * len(groups), list(prune_counts), bits
    while high:
        low = max(0, high - _DIGIT)
        bins = 1 << (high - low)
        counts = torch.zeros(len(groups), bins + 1, dtype=torch.int64, device=device)  # the last is of NaN
        for number, group in enumerate(groups):
            for saliency in group:
                if is_sharded(saliency) or shards.rank == 0:  # what every rank holds is counted once
                    counts[number] += _histogram(saliency, exact, prefixes[number], high, low)
        dist.all_reduce(counts, group=shards.group)
        if bool(counts[:, bins].any()):
            raise ValueError("saliency has NaN entries; allowed: numbers. Has the training diverged?")
        up_to = counts[:, :bins].cumsum(1)
        digits = (up_to < torch.tensor(left, device=device)[:, None]).sum(1)
        below = torch.nn.functional.pad(up_to, (1, 0)).gather(1, digits[:, None])[:, 0]
        prefixes = [prefix << (high - low) | digit for prefix, digit in zip(prefixes, digits.tolist(), strict=True)]
        left = [count - smaller for count, smaller in zip(left, below.tolist(), strict=True)]
        high = low
    return [prefix - (1 << (bits - 1)) for prefix in prefixes], left


def _histogram(saliency: Tensor, exact: torch.dtype, prefix: int, high: int, low: int) -> Tensor:
    """How often each digit (the bits from `low` to below `high`) occurs among entries that begin with `prefix`; NaN."""
    bits, bins = _FLIPPED[exact][1], 1 << (high - low)
    # With the highest bit flipped, signed keys count up from zero in the same order.
    keys = _keys(saliency, exact).flatten() ^ (-(1 << 63) if bits == 64 else 1 << (bits - 1))
    if high < bits:
        keys = keys[((keys >> high) & ((1 << (bits - high)) - 1)) == prefix]
    digits = torch.bincount((keys >> low) & (bins - 1), minlength=bins)
    return torch.cat([digits, local(saliency).isnan().sum().reshape(1)])


def _ties_before(groups: Groups, thresholds: Sequence[int], shards: ShardGroup, exact: torch.dtype) -> list[list[int]]:
    """For each tensor how many entries equal to its group's threshold come before those of this rank."""
    flat = [(number, saliency) for number, group in enumerate(groups) for saliency in group]
    table = torch.zeros(len(flat), shards.size, dtype=torch.int64, device=local(flat[0][1]).device)
    for row, (number, saliency) in enumerate(flat):
        if is_sharded(saliency) or shards.rank == 0:
            table[row, shards.rank] = (_keys(saliency, exact) == thresholds[number]).sum()
    dist.all_reduce(table, group=shards.group)
    ties, before = iter(table.tolist()), []
    for group in groups:
        seen, offsets = 0, []
        for saliency in group:
            on_ranks = next(ties)
            offsets.append(seen + (sum(on_ranks[: shards.rank]) if is_sharded(saliency) else 0))
            seen += sum(on_ranks)
        before.append(offsets)
    return before


def _keys(saliency: Tensor, exact: torch.dtype) -> Tensor:
    """What lies of `saliency` on this rank, as int64 that are in the order of its numbers; -0.0 counts as +0.0."""
    integer, bits = _FLIPPED[exact]
    signed = (local(saliency).to(exact) + 0.0).contiguous().view(integer)
    return (signed ^ ((signed >> (bits - 1)) & ((1 << (bits - 1)) - 1))).long()
