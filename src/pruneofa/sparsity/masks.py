"""Masks on the weights of a model: applied after every optimizer step, and to gradients before any clipping."""

import hashlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import nn

_HOOK_MARK = "_pruneofa_gradient_hook"


class MaskSet:
    """One boolean mask (True: the weight stays) for each pruned module of a model; one byte a weight.

    Weights are looked up by module name whenever they are needed and never kept, so that wrapping or sharding the
    model may replace them.
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
        self._model = model
        self._masks = dict(masks)

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

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

    @torch.no_grad()
    def apply(self) -> None:
        """Set every masked weight to +0.0."""
        for name, weight in self.weights():
            set_masked_to_zero(weight, self.on_device(name, weight))

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Set the gradient of every masked weight to zero, where there is one."""
        for name, weight in self.weights():
            if weight.grad is not None:
                set_masked_to_zero(weight.grad, self.on_device(name, weight.grad))

    def on_device(self, name: str, like: torch.Tensor) -> torch.Tensor:
        """The mask of `name` on the device of `like`; moved once when the model has moved."""
        mask = self._masks[name]
        if mask.device != like.device:
            mask = self._masks[name] = mask.to(like.device)
        return mask

    def hook_gradients(self) -> list["torch.utils.hooks.RemovableHandle"]:
        """Mask each gradient as soon as it is accumulated, so that any clipping sees it masked.

        Parameters that already have the hook are left alone, so this may be called again after a model was wrapped.
        Post-accumulate hooks also fire on sharded parameters (DTensor), plain tensor hooks don't.
        """
        handles = []
        for name, weight in self.weights():
            if getattr(weight, _HOOK_MARK, None) is not self and weight.requires_grad:
                hook = self._gradient_hook(name)
                handles.append(weight.register_post_accumulate_grad_hook(hook))  # type: ignore[no-untyped-call]
                setattr(weight, _HOOK_MARK, self)
        return handles

    def unhook_gradients(self) -> None:
        """Forget which parameters are hooked; their handles are removed by whoever holds them."""
        for _, weight in self.weights():
            if getattr(weight, _HOOK_MARK, None) is self:
                delattr(weight, _HOOK_MARK)

    def _gradient_hook(self, name: str) -> Callable[[torch.Tensor], None]:
        def hook(parameter: torch.Tensor) -> None:
            # A later owner of the same parameter (a lock that took over from a pruner) brings its own hook.
            if getattr(parameter, _HOOK_MARK, None) is self and parameter.grad is not None:
                with torch.no_grad():
                    set_masked_to_zero(parameter.grad, self.on_device(name, parameter.grad))

        return hook

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
            state.update(name.encode())
            state.update(pack_bits(mask).numpy().tobytes())
        return state.hexdigest()


def weight_of(model: nn.Module, name: str) -> nn.Parameter:
    """The weight of the module `name`, seen through wrappers such as DDP and `torch.compile`."""
    try:
        module = model.get_submodule(name)
    except AttributeError:
        module = unwrap(model).get_submodule(name)
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
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


def set_masked_to_zero(tensor: torch.Tensor, mask: torch.Tensor) -> None:
    """Write +0.0 where `mask` is False, in place. A product would leave -0.0, and NaN where a gradient overflowed."""
    torch.where(mask, tensor, tensor.new_zeros(()), out=tensor)


def pack_bits(mask: torch.Tensor) -> torch.Tensor:
    """A boolean mask as bytes, eight entries each, in row-major order, least significant bit first."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy().ravel(), bitorder="little"))


def unpack_bits(packed: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Inverse of `pack_bits`."""
    bits = np.unpackbits(packed.cpu().numpy(), count=shape.numel(), bitorder="little")
    return torch.from_numpy(bits.astype(bool)).reshape(shape)
