"""Hooks that keep masks through an optimizer's step."""

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from pruneofa.sparsity.masks import MaskSet


class OptimizerHooks:
    """Masks gradients as they arise, and calls back around every `optimizer.step()`.

    Args:
        masks: the masks to keep.
        before: called before the optimizer changes any weight.
        after: called when it has.
    """

    def __init__(self, masks: MaskSet, before: Callable[[], None], after: Callable[[], None]) -> None:
        self._masks = masks
        self._before = before
        self._after = after
        self._handles: list[Any] = []

    def attach(self, optimizer: Optimizer) -> None:
        """Hook the optimizer (the inner one where accelerate has wrapped it) and the gradients."""
        self.detach()
        while isinstance(getattr(optimizer, "optimizer", None), Optimizer):
            optimizer = optimizer.optimizer  # type: ignore[attr-defined]
        self._handles = [
            optimizer.register_step_pre_hook(self._pre),
            optimizer.register_step_post_hook(self._post),
            *self._masks.hook_gradients(),
        ]

    def detach(self) -> None:
        """Remove every hook."""
        for handle in self._handles:
            handle.remove()
        self._masks.unhook_gradients()
        self._handles = []

    def _pre(self, *_: Any) -> None:
        # Parameters that were replaced since `attach` (sharding) had no hook during this backward pass.
        if late := self._masks.hook_gradients():
            self._handles += late
            self._masks.mask_gradients()
        self._before()

    def _post(self, *_: Any) -> None:
        self._after()
