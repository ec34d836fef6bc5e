"""What must hold before a module is quantized, converted, or given stored scales."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.quantization.embedding import QATEmbedding
from pruneofa.quantization.grid import WeightGrid
from pruneofa.quantization.linear import QATLinear
from pruneofa.quantization.weights import integer_weight

__all__ = ["check_can_adopt", "check_convertible", "check_kept_zeros", "check_on_grid", "check_unshared", "listed"]


def check_can_adopt(name: str, module: nn.Linear | nn.Embedding) -> None:
    """See that a module is a plain one, not prepared yet.

    Raises:
        ConfigurationError: It is prepared, or computes something of its own.
    """
    if isinstance(module, QATLinear | QATEmbedding):
        raise ConfigurationError(f"module {name!r} is prepared for quantization already; convert it first")
    plain = nn.Linear.forward if isinstance(module, nn.Linear) else nn.Embedding.forward
    if type(module).forward is not plain:
        raise ConfigurationError(
            f"module {name!r} is a {type(module).__name__} with a forward of its own, which can't be quantized; "
            "put it into ignore"
        )


def check_unshared(model: nn.Module, chosen: Mapping[str, nn.Linear | nn.Embedding]) -> None:
    """Moving a shared weight onto a grid would move the other holder (an embedding, a decoder) too.

    Raises:
        ConfigurationError: Another module holds the weight of a chosen one.
    """
    holders: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            holders.setdefault(id(parameter), []).append(name)
    for name, module in chosen.items():
        others = [holder for holder in holders[id(module.weight)] if holder != name]
        if others:
            raise ConfigurationError(
                f"module {name!r} shares its weight with {listed(others)}, which would be quantized too; "
                f"put {name!r} into ignore"
            )


def check_convertible(name: str, weight: Tensor) -> None:
    """See that a weight can be moved onto a grid.

    Raises:
        ConfigurationError: It isn't float32, or not finite.
    """
    if weight.dtype != torch.float32:
        raise ConfigurationError(
            f"{name}.weight is {weight.dtype}, which can't hold the integer grid; call model.float() before convert"
        )
    if not torch.isfinite(weight).all():
        raise ConfigurationError(f"{name}.weight has values that are not finite; training has diverged")


def check_on_grid(name: str, weight: Tensor, scale: Tensor, grid: WeightGrid) -> None:
    """See that a loaded weight lies on the grid of a stored scale.

    Raises:
        CheckpointError: It does not, or the scale is of another shape.
    """
    rows = weight.shape[0] if grid.per_row else 1
    if tuple(scale.shape) != (rows,):
        raise CheckpointError(
            f"{name}.weight_scale has shape {list(scale.shape)}, the model's weight {list(weight.shape)} needs [{rows}]"
        )
    scale = scale.to(weight.device)
    rounded = integer_weight(weight, scale, grid).float() * scale[:, None]
    if weight.dtype != torch.float32 or not torch.equal(weight, rounded):
        raise CheckpointError(
            f"{name}.weight ({weight.dtype}) isn't on the integer grid of its stored scale; load the model that was "
            "saved with these scales, in float32"
        )


def check_kept_zeros(name: str, weight: Tensor, kept: Tensor) -> None:
    """See that a stored list of kept zeros (row-major indices, ascending) belongs to a weight.

    Raises:
        CheckpointError: It names a weight that is not 0, or not there.
    """
    if int(kept[-1]) >= weight.numel() or bool((weight.detach().reshape(-1)[kept.long()] != 0).any()):
        raise CheckpointError(
            f"{name}.weight_kept_zeros names a weight that is not 0 or not there; load the model that was saved with it"
        )


def listed(names: Iterable[str], limit: int = 4) -> str:
    """Names for a message, the rest counted."""
    names = list(names)
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
