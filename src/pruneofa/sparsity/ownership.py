"""Which pruner or lock holds the masks of a model, and what is done about lost zeros when the model is saved.

The model's object remembers its owner, so that an owner lives as long as its model and can be found from it. Copies
and pickles don't take it along: they are saved and loaded as if there had been none. A copy knows of whom it is one.
"""

import logging
import weakref
from typing import Any

from torch import nn

from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.masks import MaskSet, unwrap

__all__ = ["current_owner", "mend_zeros", "set_owner"]

logger = logging.getLogger(__name__)

_ATTRIBUTE = "_mask_owner"


class _Tag:
    """What a model carries: its owner, or of a copy the tag of the model that was copied."""

    def __init__(self, owner: Any = None, origin: "_Tag | None" = None) -> None:
        self.owner = owner
        self.origin = None if origin is None else weakref.ref(origin)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Tag":
        return _Tag(origin=self)

    def __copy__(self) -> "_Tag":
        return _Tag(origin=self)

    def __reduce__(self) -> Any:
        return type(None), ()


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
    else:
        tag.owner = owner


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


def _tell_of_copy(model: nn.Module, what: str) -> int:
    """A copy (averaged weights, say) of a model with masks that lacks their zeros."""
    tag = _tag(model)
    origin = None if tag is None or tag.origin is None else tag.origin()
    if origin is None or origin.owner is None:
        return 0
    masks: MaskSet = origin.owner.masks
    modules = dict(model.named_modules())
    if any(name not in modules or modules[name].weight.shape != masks[name].shape for name in masks):
        return 0
    lost = sum(MaskSet(model, {name: masks[name] for name in masks}).lost().values())
    if lost:
        logger.warning(
            "%s: this %s is a copy of one whose masks hold %.2f %% zeros, and %d of these are not zero in the copy "
            "(averaged weights?). To give it the zeros, call move_to(copy) of that model's %s; if it is meant to be "
            "dense, all is well",
            what,
            type(model).__name__,
            100 * masks.sparsity(),
            lost,
            type(origin.owner).__name__,
        )
    return lost
