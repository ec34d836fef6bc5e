"""The masks of a model's pruned weights, looked up and applied by module name."""

import hashlib
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.bits import pack_bits, set_masked_to_zero


class MaskSet:
    """One boolean mask (True: the weight stays) for each pruned module of a model; one byte a weight.

    Weights are looked up by module name whenever they are needed and never kept, so that wrapping or sharding the
    model may replace them.

    Args:
        model: the model inside any wrapper, see `unwrap`.
        masks: module name -> mask, of the weight's shape.
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
        self._model = model
        self._masks = dict(masks)

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._masks[name]

    def __setitem__(self, name: str, mask: torch.Tensor) -> None:
        self._masks[name] = mask

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
            set_masked_to_zero(weight, self.on_device(name, weight))

    def mask_gradients(self) -> None:
        """Set the gradient of every masked weight to zero, where there is one."""
        for name, weight in self.weights():
            self.mask_gradient(name, weight)

    def mask_gradient(self, name: str, weight: torch.Tensor) -> None:
        """Set the gradient of `weight`, that of the module `name`, to zero under its mask, where there is one."""
        if weight.grad is not None:
            set_masked_to_zero(weight.grad, self.on_device(name, weight.grad))

    def on_device(self, name: str, like: torch.Tensor) -> torch.Tensor:
        """The mask of `name` on the device of `like`; moved once when the model has moved."""
        mask = self._masks[name]
        if mask.device != like.device:
            mask = self._masks[name] = mask.to(like.device)
        return mask

    def counts(self) -> dict[str, tuple[int, int]]:
        """For each module the number of zeros that its mask holds, and of its weights."""
        return {name: (mask.numel() - int(mask.sum()), mask.numel()) for name, mask in self._masks.items()}

    def sparsity(self) -> float:
        """Share of masked weights over all modules."""
        counts = self.counts().values()
        return sum(zeros for zeros, _ in counts) / max(1, sum(size for _, size in counts))

    def digest(self) -> str:
        """SHA-256 over all masks in order, for comparing ranks."""
        state = hashlib.sha256()
        for name, mask in self._masks.items():
            state.update(f"{name} {tuple(mask.shape)}\n".encode())
            state.update(pack_bits(mask).numpy().tobytes())
        return state.hexdigest()


def weight_of(model: nn.Module, name: str) -> nn.Parameter:
    """The weight of the module `name`.

    Raises:
        ConfigurationError: it is computed (a parametrization), so that writing zeros into it would be lost.
    """
    weight = model.get_submodule(name).weight
    if not isinstance(weight, nn.Parameter):
        raise ConfigurationError(
            f"the weight of {name!r} is a {type(weight).__name__}, not a parameter; remove its parametrization before "
            "pruning, or name the module in `ignore`"
        )
    return weight


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside DDP, DataParallel and `torch.compile` wrappers."""
    while True:
        inner = getattr(model, "_orig_mod", None) or (
            model.module if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel) else None
        )
        if inner is None:
            return model
        model = inner
