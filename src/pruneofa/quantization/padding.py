"""Which tokens of the forward pass under way are padding: padding is no data, so observers leave it out.

A prepared model tells its attention mask when its forward pass begins. Where there is none, as in packed batches,
every token counts.
"""

from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["extremes", "heed_padding", "ignore_padding", "present_tokens", "present_values"]

# One entry for each forward pass of a model of transformers that is under way, the innermost last.
_masks: ContextVar[tuple[Tensor | None, ...]] = ContextVar("masks", default=())
_HANDLES = "padding_handles"


def heed_padding(model: nn.Module) -> None:
    """Have every model of transformers that `model` is or holds tell its attention mask during its forward pass."""
    from transformers import PreTrainedModel

    for module in model.modules():
        if isinstance(module, PreTrainedModel) and _HANDLES not in vars(module):
            vars(module)[_HANDLES] = [
                module.register_forward_pre_hook(_begin, with_kwargs=True),
                module.register_forward_hook(_end, always_call=True),
            ]


def ignore_padding(model: nn.Module) -> None:
    """Undo `heed_padding`."""
    for module in model.modules():
        for handle in vars(module).pop(_HANDLES, ()):
            handle.remove()


def present_tokens() -> Tensor | None:
    """Bool `[batch, length]`, False for padding, of the forward pass under way; None where nothing is padded."""
    masks = _masks.get()
    return masks[-1] if masks else None


def extremes(values: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest of the values that are no padding, in their dtype, scalars each.

    Args:
        values: of any shape; of shape [batch, length, ...] or [batch * length, ...] those of padding are left out.

    Returns:
        Infinite ones the wrong way round where all is padding.
    """
    mask = present_tokens()
    shape = None if mask is None else _token_shape(values, mask)
    if mask is None or shape is None:
        low, high = torch.aminmax(values)
        return low, high
    tokens = values.reshape(*shape, -1)  # amin and amax are many times faster here than aminmax over one dimension
    low = torch.where(mask, tokens.amin(2), torch.inf).min()
    return low, torch.where(mask, tokens.amax(2), -torch.inf).max()


def present_values(values: Tensor) -> Tensor:
    """The values that are no padding, in one dimension; arguments as of `extremes`."""
    mask = present_tokens()
    shape = None if mask is None else _token_shape(values, mask)
    if mask is None or shape is None:
        return values.reshape(-1)
    return values.reshape(*shape, -1)[mask].reshape(-1)


def _token_shape(values: Tensor, mask: Tensor) -> torch.Size | None:
    """[batch, length] where the first dimensions of `values` are these, folded or not; else None."""
    if values.dim() > 2 and values.shape[:2] == mask.shape:
        return mask.shape
    return mask.shape if values.dim() == 2 and values.shape[0] == mask.numel() else None


def _begin(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    # The second argument of every encoder of transformers, where it isn't named.
    given = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
    mask: Tensor | None = given != 0 if isinstance(given, Tensor) and given.dim() == 2 else None
    _masks.set((*_masks.get(), mask))


def _end(*_: Any) -> None:
    _masks.set(_masks.get()[:-1])
