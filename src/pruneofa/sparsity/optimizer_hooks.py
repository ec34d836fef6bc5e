"""Hooks that keep masks through the steps of whatever optimizers train the masked weights."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.masks import MaskSet

__all__ = ["OptimizerHooks", "watch_optimizers"]


class OptimizerHooks:
    """Masks gradients as they arise, and calls back around every `optimizer.step()`.

    Of optimizers inside one another (SAM and what it wraps) each calls back, so both callbacks must be idempotent.

    Args:
        masks: the masks to keep.
        before: called before the optimizer changes any weight.
        after: called when it has.
    """

    def __init__(self, masks: MaskSet, before: Callable[[], None], after: Callable[[], None]) -> None:
        self._masks = masks
        self._before = before
        self._after = after
        self._attached = False
        self._optimizers: weakref.WeakKeyDictionary[Optimizer, list[Any]] = weakref.WeakKeyDictionary()
        # Module name -> the parameter that is hooked, and its handle.
        self._gradient_handles: dict[str, tuple[weakref.ref[torch.Tensor], Any]] = {}

    @property
    def attached(self) -> bool:
        """Whether an optimizer was hooked, and not let go since."""
        return self._attached

    @property
    def optimizers(self) -> list[Optimizer]:
        """Those that are hooked."""
        return list(self._optimizers)

    def attach(self, optimizer: Optimizer) -> None:
        """Hook the optimizer (the inner one where accelerate has wrapped it) and the gradients, and no other one.

        Raises:
            ConfigurationError: it is no optimizer of torch, so nothing tells when it steps.
        """
        while isinstance(getattr(optimizer, "optimizer", None), Optimizer):
            optimizer = optimizer.optimizer  # type: ignore[attr-defined]
        if not isinstance(optimizer, Optimizer):
            raise ConfigurationError(
                f"optimizer is a {type(optimizer).__name__}; allowed: a torch.optim.Optimizer, whose steps can be seen"
            )
        self.detach()
        self.adopt(optimizer)
        self.hook_gradients()

    def adopt(self, optimizer: Optimizer) -> None:
        """Hook this one too."""
        self._attached = True
        if optimizer not in self._optimizers:
            self._optimizers[optimizer] = [
                optimizer.register_step_pre_hook(self._pre),
                optimizer.register_step_post_hook(self._post),
            ]

    def is_foreign(self, optimizer: Optimizer) -> bool:
        """Whether an optimizer trains masked weights and is not hooked."""
        if optimizer in self._optimizers:
            return False
        trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        return any(id(weight) in trained for _, weight in self._masks.weights())

    def detach(self) -> None:
        """Remove every hook."""
        handles = [handle for pair in self._optimizers.values() for handle in pair]
        for handle in [*handles, *(handle for _, handle in self._gradient_handles.values())]:
            handle.remove()
        self._optimizers.clear()
        self._attached = False
        self._gradient_handles = {}

    def hook_gradients(self) -> bool:
        """Mask each gradient as soon as it is accumulated, so that any clipping sees it masked.

        Only parameters that are new since the last call are hooked, so it is cheap to call it again. Post-accumulate
        hooks also fire on sharded parameters (DTensor), plain tensor hooks don't.

        Returns:
            Whether any parameter was new.
        """
        any_new = False
        for name, weight in self._masks.weights():
            known, handle = self._gradient_handles.get(name, (None, None))
            if not weight.requires_grad or (known is not None and known() is weight):
                continue
            if handle is not None:
                handle.remove()
            new_handle = weight.register_post_accumulate_grad_hook(self._gradient_hook(name))  # type: ignore[no-untyped-call]
            self._gradient_handles[name] = (weakref.ref(weight), new_handle)
            any_new = True
        return any_new

    def _gradient_hook(self, name: str) -> Callable[[torch.Tensor], None]:
        # Weak, so that a parameter doesn't keep the masks and through them its own model alive.
        masks = weakref.ref(self._masks)

        def hook(parameter: torch.Tensor) -> None:
            held = masks()
            if held is not None:
                held.mask_gradient(name, parameter)

        return hook

    def _pre(self, _optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Parameters that were replaced since `attach` (sharding) had no hook during this backward pass.
        if self.hook_gradients():
            self._masks.mask_gradients()
        if len(args) > 1 and args[1] is not None:  # args[0] is the optimizer itself
            args = (args[0], self._masked(args[1]), *args[2:])
        elif kwargs.get("closure") is not None:
            kwargs = {**kwargs, "closure": self._masked(kwargs["closure"])}
        self._before()
        return args, kwargs

    def _post(self, *_: Any) -> None:
        self._after()

    def _masked(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        """A closure runs inside the optimizer's step, where weights are dense; it must see them masked."""

        def masked_closure() -> Any:
            self._after()
            try:
                return closure()
            finally:
                self._before()

        return masked_closure


_WATCHERS: "weakref.WeakSet[Any]" = weakref.WeakSet()
_is_watching = False


def watch_optimizers(keeper: Any) -> None:
    """Have `keeper.meet(optimizer)` called before each step of any optimizer of torch, as long as the keeper lives."""
    global _is_watching
    _WATCHERS.add(keeper)
    if not _is_watching:
        register_optimizer_step_pre_hook(_meet_watchers)
        _is_watching = True


def _meet_watchers(optimizer: Optimizer, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    for keeper in list(_WATCHERS):
        keeper.meet(optimizer)
