"""Which pruner or lock holds the masks of a model.

Kept beside the models, not on them: a model can then be copied, pickled and saved as if it had no pruner. Both ends are
weak, so neither keeps the other alive.
"""

import weakref
from typing import Any, Protocol

from torch import nn

from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.masks import MaskSet, unwrap


class MaskOwner(Protocol):
    """A pruner or a lock."""

    masks: MaskSet

    @property
    def attached(self) -> bool:
        """Whether an optimizer is hooked."""

    def detach(self) -> None:
        """Remove all hooks."""


_OWNERS: "weakref.WeakKeyDictionary[nn.Module, weakref.ref[Any]]" = weakref.WeakKeyDictionary()


def current_owner(model: nn.Module) -> Any:
    """The pruner or lock that holds the masks of `model` (wrapped or not), if any."""
    reference = _OWNERS.get(unwrap(model))
    return None if reference is None else reference()


def set_owner(model: nn.Module, owner: MaskOwner) -> None:
    """Record who holds the masks of `model`.

    Raises:
        ConfigurationError: another owner is still attached to an optimizer and would go on masking.
    """
    previous = current_owner(model)
    if previous is not None and previous is not owner and previous.attached:
        raise ConfigurationError(
            f"this {type(unwrap(model)).__name__} already has a {type(previous).__name__} attached to an optimizer; "
            "call its detach() first, or name all modules in one SparsityConfig"
        )
    _OWNERS[unwrap(model)] = weakref.ref(owner)
