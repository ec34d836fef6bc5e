"""Which pruner or lock holds the masks of a model, and what is done about lost zeros when the model is saved.

The model's object remembers its owner, so that an owner lives as long as its model and can be found from it. Copies
and pickles don't take it along: they are saved and loaded as if there had been none. A copy knows of whom it is one.
Who saves by own code (`save_pretrained`, `state_dict`) is warned where the zeros are not there.
"""

import logging
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.masks import MaskSet, unwrap
from pruneofa.sparsity.shards import is_sharded

__all__ = ["current_owner", "mend_zeros", "set_owner", "zeros_mended"]

logger = logging.getLogger(__name__)

_ATTRIBUTE = "_mask_owner"


class _Tag:
    """What a model carries: its owner; of a copy the tag of the model that was copied, and the masks of that one."""

    def __init__(self, owner: Any = None) -> None:
        self.owner = owner
        self.origin: weakref.ref[_Tag] | None = None
        # Of a copy, so that it can be told from a dense model when the model that was copied is gone.
        self.masks: Mapping[str, torch.Tensor] = {}
        self.told = False  # what was lost, of the saving that is going on

    def _of_copy(self) -> "_Tag":
        tag = _Tag()
        tag.told = self.told
        if self.owner is not None:  # a copy of a copy is told of no more
            tag.origin, tag.masks = weakref.ref(self), self.owner.masks.tensors
        return tag

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Tag":
        return self._of_copy()

    def __copy__(self) -> "_Tag":
        return self._of_copy()

    def __reduce__(self) -> Any:
        return type(None), ()


class _StateWatch:
    """Called by torch before a model's `state_dict()`, which is how anybody's own code saves one."""

    def __call__(self, model: nn.Module, _prefix: str, _keep_vars: bool) -> None:
        _tell_of_state(model)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_StateWatch":
        return self

    def __reduce__(self) -> Any:
        # A pickled model is loaded where this package may be missing; there this takes any arguments and does nothing.
        return getattr, ("", "format")


def _tag(model: nn.Module) -> _Tag | None:
    tag = vars(unwrap(model)).get(_ATTRIBUTE)
    return tag if isinstance(tag, _Tag) else None


def current_owner(model: nn.Module) -> Any:
    """The pruner or lock that holds the masks of `model` (wrapped or not), if any."""
    tag = _tag(model)
    return None if tag is None or tag.owner is None or tag.owner.model is not unwrap(model) else tag.owner


def set_owner(model: nn.Module, owner: Any) -> None:
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
    tag = _tag(model)
    if tag is None:
        unwrap(model).__dict__[_ATTRIBUTE] = _Tag(owner)
        unwrap(model).register_state_dict_pre_hook(_StateWatch())  # type: ignore[no-untyped-call]
    else:
        tag.owner = owner


@contextmanager
def zeros_mended(model: nn.Module, what: str) -> Iterator[None]:
    """Save `model` within: `mend_zeros` before, and nothing is told twice."""
    tag = _tag(model)
    if tag is None or tag.told:
        yield
        return
    mend_zeros(model, what)
    tag.told = True
    try:
        yield
    finally:
        tag.told = False


def mend_zeros(model: nn.Module, what: str) -> int:
    """See before `model` is saved that the zeros which its pruner or lock promises are there.

    Weights that were written from outside (a dense state loaded, averaged weights, an optimizer without `step()`) are
    set to zero again, with a warning. Of a detached owner, and of a copy of a model that has one, the weights stay as
    they are: what was lost is told in a warning, since it may be what was wanted.

    Args:
        model: wrapped or not.
        what: what is done with the model, for the warning.

    Returns:
        How many weights under the masks were not zero.
    """
    owner = current_owner(model)
    if owner is not None and not owner.detached:
        return int(owner.put_back_zeros(f"something wrote them after the last step; found at {what}"))
    if owner is not None:
        lost = sum(owner.masks.lost().values())
        if lost:
            logger.warning(
                "%s: %d weights that were zero under the masks of the detached %s are not zero any more, and stay so. "
                "To have the zeros back, call attach(optimizer) or lock_pattern(model) before the weights change",
                what,
                lost,
                type(owner).__name__,
            )
        return int(lost)
    return _tell_of_copy(unwrap(model), what)


def _tell_of_state(model: nn.Module) -> None:
    """Weights that leave by `state_dict()` (`save_pretrained`, `torch.save`) without the zeros that masks promise.

    They are told of and not changed: reading a state is no reason to write weights. Saving by `save_model` and
    `save_compressed` has mended them before it comes here.
    """
    tag, owner = _tag(model), current_owner(model)
    if tag is None or tag.told:
        return
    if owner is None:
        _tell_of_copy(model, "state_dict()")
        return
    if owner.detached or any(is_sharded(weight) for _, weight in owner.masks.weights()):
        return
    lost = sum(owner.masks.lost().values())
    if lost:
        logger.warning(
            "state_dict(): %d weights under the masks of the %s are not zero: something wrote them after the last "
            "step. They stay so in what is saved now; to have the zeros, call put_back_zeros('saving') of it before",
            lost,
            type(owner).__name__,
        )


def _tell_of_copy(model: nn.Module, what: str) -> int:
    """A copy (averaged weights, say) of a model with masks that lacks their zeros."""
    tag = _tag(model)
    if tag is None or tag.origin is None:
        return 0
    origin = tag.origin()
    owner = None if origin is None else origin.owner
    masks: Mapping[str, torch.Tensor] = tag.masks if owner is None else owner.masks.tensors
    modules = dict(model.named_modules())
    if any(name not in modules or modules[name].weight.shape != masks[name].shape for name in masks):
        return 0
    held = MaskSet(model, masks)
    lost = sum(held.lost().values())
    if lost:
        remedy = "train copies under a lock_pattern of their own"
        if owner is not None:
            remedy = f"call move_to(copy) of that model's {type(owner).__name__}"
        logger.warning(
            "%s: this %s is a copy of one whose masks hold %.2f %% zeros, and %d of these are not zero in the copy "
            "(averaged weights?). To give it the zeros, %s; if it is meant to be dense, all is well",
            what,
            type(model).__name__,
            100 * held.sparsity(),
            lost,
            remedy,
        )
    return lost
