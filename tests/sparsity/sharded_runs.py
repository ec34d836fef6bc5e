"""What the tests of sharded pruning run on every rank; each checks against the same thing done whole."""

from typing import Any

import torch
import torch.distributed as dist
from sparsity_models import classifier, ramp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.bits import unpack_bits
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.sparsity.lock import PatternLock, lock_pattern
from pruneofa.sparsity.pruner import Pruner
from pruneofa.sparsity.ranks import MaskMismatchError
from pruneofa.sparsity.selection import keep_largest
from pruneofa.sparsity.sharded_selection import keep_largest_over_ranks
from pruneofa.sparsity.shards import is_sharded, local, whole

BATCH = 4


def shard(model: nn.Module, **settings: Any) -> nn.Module:
    """Each layer a group of its own, as accelerate does it."""
    for layer in model.base_model.encoder.layer:
        fully_shard(layer, **settings)
    return fully_shard(model, **settings)


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    # Gradients of key biases are rounding errors around zero; the larger epsilon keeps them that.
    return torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1, eps=1e-4)


def step(model: nn.Module, keeper: Any, optimizer: Any, number: int, share: slice = slice(None)) -> float:
    """A step on this rank's share of the batch of `number`; the gradient's norm before clipping."""
    ids = torch.randint(3, 40, (BATCH, 9), generator=torch.Generator().manual_seed(number))
    labels = torch.arange(BATCH) % 2
    model(input_ids=ids[share], labels=labels[share]).loss.backward()
    for name, weight in keeper.masks.weights():
        if weight.grad is not None:
            assert not local(weight.grad)[~local(keeper.masks.fitted(name, weight))].any(), name
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    keeper.step()
    for name, weight in keeper.masks.weights():
        masked = local(weight)[~local(keeper.masks.fitted(name, weight))]
        assert not masked.any() and not masked.signbit().any(), name
    return float(whole(norm))


def trained(config: SparsityConfig, steps: int, shares: bool) -> tuple[nn.Module, Pruner, Any, list[float]]:
    """A model after `steps`: sharded, each rank with its share of the batches, or whole."""
    model = classifier().double()
    pruner = Pruner(model, config)  # before sharding replaces the parameters
    share = slice(dist.get_rank(), None, dist.get_world_size()) if shares else slice(None)
    if shares:
        shard(model)
        assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    optimizer = adamw(model)
    pruner.attach(optimizer)
    norms = [step(model, pruner, optimizer, number, share) for number in range(steps)]
    return model, pruner, optimizer, norms


def same_masks(one: Any, other: Any) -> bool:
    return all(torch.equal(whole(one.masks[name]), whole(other.masks[name])) for name in one.masks)


def close_weights(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.allclose(whole(mine), whole(theirs), rtol=1e-9, atol=1e-12) for mine, theirs in pairs)


def selections(rank: int, ranks: int) -> int:
    """Selections over sharded tensors give the masks of one process; how many were compared."""
    mesh, compared = init_device_mesh("cpu", (ranks,)), 0
    random = torch.Generator().manual_seed(0)

    def number(below: int) -> int:
        return int(torch.randint(below, (1,), generator=random))

    for case in range(18):
        dtype = [torch.float32, torch.bfloat16, torch.float64][case % 3]
        tensors = []
        for _ in range(1 + number(4)):
            entries = torch.randn(1 + number(9), 1 + number(6), generator=random)
            if case % 2:  # few distinct values, of both signs and zeros of both signs: most cuts go through ties
                entries = (entries * 2).round() / 2
            tensors.append(entries.to(dtype))
        # Some lie whole on every rank; the first never does.
        kept = [bool(at) and number(4) == 0 for at in range(len(tensors))]
        split = [
            tensor if plain else distribute_tensor(tensor, mesh, [Shard(0)])
            for tensor, plain in zip(tensors, kept, strict=True)
        ]
        total = sum(map(torch.numel, tensors))
        for count in {0, 1, number(total + 1), total}:
            [masks] = keep_largest_over_ranks([split], [count])
            for mask, given, expected in zip(masks, split, keep_largest(tensors, count), strict=True):
                assert is_sharded(mask) == is_sharded(given) and mask.shape == given.shape
                assert torch.equal(whole(mask), expected), (case, count)
                compared += 1
        shares = [number(tensor.numel() + 1) for tensor in tensors]
        for [mask], tensor, count in zip(
            keep_largest_over_ranks([[tensor] for tensor in split], shares), tensors, shares, strict=True
        ):
            assert torch.equal(whole(mask), keep_largest([tensor], count)[0])
    return compared


def refusals(rank: int, ranks: int) -> list[str]:
    """What is told on this rank of a NaN that lies on another, a count out of range, and columns split over ranks."""
    mesh, errors = init_device_mesh("cpu", (ranks,)), []
    rows = torch.arange(4.0 * ranks).reshape(2 * ranks, 2)
    poisoned = rows.clone()
    poisoned[-1, -1] = torch.nan
    for tensor, count, placement in ((poisoned, 3, Shard(0)), (rows, 999, Shard(0)), (rows, 3, Shard(1))):
        try:
            keep_largest_over_ranks([[distribute_tensor(tensor, mesh, [placement])]], [count])
        except (ValueError, ConfigurationError) as error:
            errors.append(str(error))
    return errors


def pruning(rank: int, ranks: int, scope: str) -> dict[str, Any]:
    """A sharded run is the whole one: norms, weights, masks; its state goes on whole, and the other way round."""
    config = ramp(scope=scope)
    reference, alone, _, norms = trained(config, 7, shares=False)
    model, pruner, optimizer, sharded_norms = trained(config, 7, shares=True)
    assert torch.allclose(torch.tensor(norms), torch.tensor(sharded_norms), rtol=1e-9)
    assert close_weights(reference, model)
    assert same_masks(alone, pruner)
    assert all(is_sharded(pruner.masks[name]) for name in pruner.masks)
    assert pruner.masks.digest() == alone.masks.digest()
    assert pruner.masks.counts() == alone.masks.counts() and pruner.sparsity == alone.sparsity
    state, expected = pruner.state_dict(), alone.state_dict()
    assert {key: state[key] for key in ("completed_steps", "frozen", "shapes")} == {
        key: expected[key] for key in ("completed_steps", "frozen", "shapes")
    }
    for name, packed in expected["masks"].items():
        assert torch.equal(state["masks"][name], packed)
    assert list(state["hidden"]) == (list(expected["hidden"]) if rank == 0 else [])
    for name, values in state["hidden"].items():
        assert torch.allclose(values, expected["hidden"][name], rtol=1e-9, atol=1e-12)
    assert not pruner.frozen and expected["hidden"]
    # The whole run's state, in a sharded pruner: it goes on as the whole run does.
    pruner.load_state_dict(expected)
    for number in range(7, 10):
        step(model, pruner, optimizer, number, slice(rank, None, ranks))
    _, alone, _, _ = trained(config, 10, shares=False)
    assert same_masks(alone, pruner) and pruner.frozen
    return {"zeros": pruner.masks.counts(), "digest": pruner.masks.digest()}


def whole_again(rank: int, ranks: int) -> None:
    """A pruner follows its model's copy: from whole to sharded and back, in the middle of a run."""
    plain = classifier().double()
    pruner, optimizer = Pruner(plain, ramp()), adamw(plain)
    pruner.attach(optimizer)
    for number in range(2):
        step(plain, pruner, optimizer, number)
    before = pruner.state_dict()
    copy = classifier().double()
    copy.load_state_dict(plain.state_dict())
    pruner.move_to(shard(copy))
    assert all(is_sharded(pruner.masks[name]) for name in pruner.masks)
    pruner.move_to(plain)
    after = pruner.state_dict()
    assert not any(is_sharded(pruner.masks[name]) for name in pruner.masks)
    for kind in ("masks", "hidden"):
        assert all(torch.equal(before[kind][name], after[kind][name]) for name in before[kind])


def locking(rank: int, ranks: int) -> float:
    """A lock holds on a sharded model, made before sharding or after it."""
    model = classifier().double()
    with torch.no_grad():
        for layer in model.base_model.encoder.layer:
            for linear in (layer.intermediate.dense, layer.output.dense):
                linear.weight[linear.weight.abs() < linear.weight.abs().median()] = 0.0
    early = lock_pattern(model)
    zeros = early.masks.counts()
    shard(model)
    late = lock_pattern(model)
    assert isinstance(late, PatternLock) and late.masks.counts() == zeros
    optimizer = adamw(model)
    late.attach(optimizer)
    for number in range(3):
        step(model, late, optimizer, number, slice(rank, None, ranks))
    state = late.state_dict()
    for name, (count, size) in zeros.items():
        weight = whole(model.get_submodule(name).weight)
        assert int((weight == 0).sum()) == count and weight.numel() == size
        assert torch.equal(unpack_bits(state["masks"][name], weight.shape), weight != 0)
    return late.sparsity


def copies(rank: int, ranks: int) -> tuple[bool, str]:
    """Shards with copies (HSDP): the same masks as whole; copies that differ are found out on every rank."""
    mesh = init_device_mesh("cpu", (2, ranks // 2), mesh_dim_names=("copy", "shard"))
    model = classifier()
    expected = Pruner(classifier(), ramp(end_step=0))
    expected.attach(adamw(expected.model))
    shard(model, mesh=mesh)
    pruner = Pruner(model, ramp(end_step=0))
    pruner.attach(adamw(model))
    agree = same_masks(expected, pruner)
    drifting = shard(classifier(seed=rank // (ranks // 2)), mesh=mesh)
    try:
        Pruner(drifting, ramp(end_step=0)).attach(adamw(drifting))
    except MaskMismatchError as error:
        return agree, str(error)
    return agree, ""


def everything(rank: int) -> dict[str, Any]:
    """All of the above on two ranks; on four what another number of them can change, and copies."""
    ranks = dist.get_world_size()
    found: dict[str, Any] = {
        "selections": selections(rank, ranks),
        "refusals": refusals(rank, ranks),
        "global": pruning(rank, ranks, "global"),
    }
    if ranks == 4:
        return {**found, "copies": copies(rank, ranks)}
    whole_again(rank, ranks)
    return {**found, "uniform": pruning(rank, ranks, "uniform"), "lock": locking(rank, ranks)}
