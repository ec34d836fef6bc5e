"""Weights that lie split over the ranks (FSDP2's DTensors): this rank's part, and what is laid out alike."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pruneofa.errors import ConfigurationError


def is_sharded(tensor: Tensor) -> bool:
    """Whether `tensor` is a DTensor."""
    module = sys.modules.get("torch.distributed.tensor")  # not loaded: then there is none
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Tensor) -> Tensor:
    """What of `tensor` lies on this rank, sharing its memory and without its gradient; a plain tensor as it is."""
    detached: Any = tensor.detach()
    part: Tensor = detached.to_local() if is_sharded(tensor) else detached
    return part


def laid_out_like(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor`, of the same shape as `like`, on the device of `like` and split, or whole, as `like` is.

    Splitting takes this rank's part and asks no other rank; every rank must hold the same whole. Making whole what is
    split gathers it, on every rank.
    """
    if same_layout(tensor, like):
        return tensor
    tensor = whole(tensor)
    if is_sharded(like):
        from torch.distributed.tensor import distribute_tensor

        layout: Any = like
        split = distribute_tensor(tensor.to(like.device), layout.device_mesh, layout.placements, src_data_rank=None)
        return as_shard(local(split).clone(), like)  # a copy: the part must not keep the whole in memory
    return tensor.to(like.device)


def as_shard(part: Tensor, like: Tensor) -> Tensor:
    """A tensor laid out as `like`, of which `part` is what lies on this rank."""
    if not is_sharded(like):
        return part
    from torch.distributed.tensor import DTensor

    layout: Any = like
    return DTensor.from_local(part, layout.device_mesh, layout.placements, shape=like.shape, stride=like.stride())


def whole(tensor: Tensor) -> Tensor:
    """All of `tensor`, gathered on every rank where it is split; every rank must call this."""
    if not is_sharded(tensor):
        return tensor.detach()
    if tensor.dtype == torch.bool:  # not every backend sends booleans
        return whole(as_shard(local(tensor).view(torch.uint8), tensor)).view(torch.bool)
    detached: Any = tensor.detach()
    gathered: Tensor = detached.full_tensor()
    return gathered


@dataclass(frozen=True)
class ShardGroup:
    """The ranks that hold one tensor's rows between them.

    Attributes:
        group: their process group. What is replicated has others of its kind, with the same parts.
        rank: of this process among them; rows are in the order of ranks.
        size: how many they are.
    """

    group: Any
    rank: int
    size: int


def shard_group(tensor: Tensor) -> ShardGroup:
    """Who holds the rows of a sharded tensor.

    Raises:
        ConfigurationError: it is not split by rows over one dimension of its mesh.
    """
    from torch.distributed.tensor import Replicate, Shard

    layout: Any = tensor
    mesh, placements = layout.device_mesh, list(layout.placements)
    split = [placement for placement in placements if not isinstance(placement, Replicate)]
    if len(split) != 1 or type(split[0]) is not Shard or split[0].dim != 0:
        raise ConfigurationError(
            f"a pruned weight is laid out over the ranks as {tuple(placements)}; allowed: split by rows over one "
            "dimension of the mesh, as fully_shard does, and copies of that (HSDP)"
        )
    dimension = placements.index(split[0])
    return ShardGroup(mesh.get_group(dimension), mesh.get_local_rank(dimension), mesh.size(dimension))


def zeros_over_ranks(masks: Sequence[Tensor]) -> list[int]:
    """How many entries of each mask are False; every rank must call this where masks are split."""
    split = [shard_group(mask) if is_sharded(mask) else None for mask in masks]
    zeros = [mask.numel() - int(mask.sum()) for mask in map(local, masks)]
    for shards in {id(group.group): group for group in split if group is not None}.values():
        members = [number for number, group in enumerate(split) if group is not None and group.group is shards.group]
        counts = torch.tensor([zeros[number] for number in members], device=local(masks[members[0]]).device)
        torch.distributed.all_reduce(counts, group=shards.group)
        for number, count in zip(members, counts.tolist(), strict=True):
            zeros[number] = count
    return zeros


def same_layout(tensor: Tensor, like: Tensor) -> bool:
    """Whether both lie on the same device and are whole, or split in the same way."""
    if tensor.device != like.device or is_sharded(tensor) != is_sharded(like):
        return False
    one: Any = tensor
    other: Any = like
    return not is_sharded(like) or (one.device_mesh == other.device_mesh and one.placements == other.placements)
