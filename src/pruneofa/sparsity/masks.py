"""The masks of a model's pruned weights, looked up and applied by module name."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import nn

from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.bits import count_masked, pack_bits, set_masked_to_zero
from pruneofa.sparsity.shards import laid_out_like, same_layout, whole, zeros_over_ranks


class MaskSet:
    """One boolean mask (True: the weight stays) for each pruned module of a model; one byte a weight.

    Weights are looked up by module name whenever they are needed and never kept, so that wrapping or sharding the
    model may replace them. A mask follows its weight: it is moved, split over ranks or made whole as that is.

    Args:
        model: the model inside any wrapper, see `unwrap`.
        masks: module name -> mask, of the weight's shape.
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
        self._model = model
        self._masks = dict(masks)
        self._counts: dict[str, tuple[int, int]] | None = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._masks[name]

    def __setitem__(self, name: str, mask: torch.Tensor) -> None:
        self._masks[name] = mask
        self._counts = None

    @property
    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Module name -> mask, as they are at any time; holding this does not hold the model."""
        return self._masks

    def move_to(self, model: nn.Module) -> None:
        """Be the masks of `model`, a copy of the model so far, instead."""
        self._model = model

    def weight(self, name: str) -> nn.Parameter:
        """The weight that the module `name` has now."""
        return weight_of(self._model, name)

    def weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every masked weight with its module's name."""
        for name in self._masks:
            yield name, self.weight(name)

    def apply(self) -> None:
        """Set every masked weight to +0.0."""
        for name, weight in self.weights():
            set_masked_to_zero(weight, self.fitted(name, weight))

    def lost(self, names: Iterable[str] | None = None) -> dict[str, int]:
        """How many weights under its mask are not +0.0, for each module that has such; of sharded ones on this rank.

        Args:
            names: modules to look at; None: all.
        """
        found = {}
        for name in self._masks if names is None else names:
            weight = self.weight(name)
            if count := count_masked(weight, self.fitted(name, weight)):
                found[name] = count
        return found

    def mask_gradients(self) -> None:
        """Set the gradient of every masked weight to zero, where there is one."""
        for name, weight in self.weights():
            self.mask_gradient(name, weight)

    def mask_gradient(self, name: str, weight: torch.Tensor) -> None:
        """Set the gradient of `weight`, that of the module `name`, to zero under its mask, where there is one."""
        if weight.grad is not None:
            set_masked_to_zero(weight.grad, self.fitted(name, weight.grad))

    def fit(self) -> None:
        """Fit every mask to its weight now, rather than when it is needed next."""
        for name, weight in self.weights():
            self.fitted(name, weight)

    def fitted(self, name: str, like: torch.Tensor) -> torch.Tensor:
        """The mask of `name` on the device of `like` and split over ranks as it is; changed once when the model has."""
        mask = self._masks[name]
        if not same_layout(mask, like):
            mask = self._masks[name] = laid_out_like(mask, like)
        return mask

    def counts(self) -> dict[str, tuple[int, int]]:
        """For each module the number of zeros that its mask holds, and of its weights, over all ranks.

        Counted once for each selection: after one whose masks are split every rank must ask at the same place, as
        `Pruner` and `PatternLock` do at once.
        """
        if self._counts is None:
            zeros = zeros_over_ranks(list(self._masks.values()))
            sizes = [mask.numel() for mask in self._masks.values()]
            self._counts = dict(zip(self._masks, zip(zeros, sizes, strict=True), strict=True))
        return dict(self._counts)

    def sparsity(self) -> float:
        """Share of masked weights over all modules."""
        counts = self.counts().values()
        return sum(zeros for zeros, _ in counts) / max(1, sum(size for _, size in counts))

    def digest(self) -> str:
        """SHA-256 over all masks in order, for comparing ranks; the same however they are split.

        Where they are, every rank must call this; one mask at a time is gathered.
        """
        state = hashlib.sha256()
        for name, mask in self._masks.items():
            state.update(f"{name} {tuple(mask.shape)}\n".encode())
            state.update(pack_bits(whole(mask)).numpy().tobytes())
        return state.hexdigest()


def weight_of(model: nn.Module, name: str) -> nn.Parameter:
    """The weight of the module `name`.

    Raises:
        ConfigurationError: it is computed (a parametrization), so that writing zeros into it would be lost.
    """
    weight = module_of(model, name).weight
    if not isinstance(weight, nn.Parameter):
        raise ConfigurationError(
            f"the weight of {name!r} is a {type(weight).__name__}, not a parameter; remove its parametrization before "
            "pruning, or name the module in `ignore`"
        )
    return weight


def module_of(model: nn.Module, name: str) -> Any:
    """The module `name`, also where adapters that it had when it was named were merged into it since (peft)."""
    try:
        return model.get_submodule(name)
    except AttributeError:
        if name.endswith(".base_layer"):
            return model.get_submodule(name.removesuffix(".base_layer"))
        raise


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside DDP, DataParallel, `torch.compile` and peft wrappers."""
    while True:
        if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
            model = cast(Any, model).get_base_model()
        inner = getattr(model, "_orig_mod", None) or (
            model.module if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel) else None
        )
        if inner is None:
            return model
        model = inner
