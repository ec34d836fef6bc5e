"""Which weight matters: saliencies, registered by the name that recipes store. One's own is one more entry.

register_saliency("random", Saliency(lambda seen: torch.rand_like(seen.weight)))
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.saliency.seen import SeenWeight

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Saliency", "SeenWeight", "magnitude", "register_saliency", "saliencies", "saliency_of", "wanda"]

Need = Literal["gradients", "inputs"]
"""Statistics that a pruner can gather for a saliency between two selections."""


@dataclass(frozen=True)
class Saliency:
    """How weights are ranked.

    Attributes:
        scores: what is seen -> score of each weight, of its shape; the least go.
        needs: statistics that must be gathered first. They come from the passes since the last selection.
        update: what is seen and the new mask -> the weight with the pruned ones removed and the others moved to make up
            for them, of its shape. Weights that were pruned can't come back then.
    """

    scores: "Callable[[SeenWeight], Tensor]"
    needs: frozenset[Need] = frozenset()
    update: "Callable[[SeenWeight, Tensor], Tensor] | None" = None


def magnitude(seen: SeenWeight) -> "Tensor":
    """Absolute value of each weight (gradual magnitude pruning; PruneOFA, section 3)."""
    return seen.weight.detach().abs()


def wanda(seen: SeenWeight) -> "Tensor":
    """Absolute value times the root mean square of the weight's input (Wanda; Sun et al. 2023, equation 1).

    Ranked over a whole tensor, or all of them, as `scope` says; Wanda itself ranks within each output.
    """
    assert seen.input_power is not None
    return seen.weight.detach().abs() * seen.input_power.sqrt().to(seen.weight.dtype)


def _block_fisher(seen: SeenWeight) -> "Tensor":
    from pruneofa.sparsity.saliency.fisher import fisher_scores

    return fisher_scores(seen)


def _fisher_update(seen: SeenWeight, mask: "Tensor") -> "Tensor":
    from pruneofa.sparsity.saliency.fisher import fisher_update

    return fisher_update(seen, mask)


_SALIENCIES: dict[str, Saliency] = {
    "magnitude": Saliency(magnitude),
    "wanda": Saliency(wanda, frozenset({"inputs"})),
    "block_fisher": Saliency(_block_fisher, frozenset({"gradients"}), _fisher_update),
}


def register_saliency(name: str, saliency: Saliency) -> None:
    """Add a saliency under the name that `SparsityConfig.saliency` takes, or replace the one of that name."""
    _SALIENCIES[name] = saliency


def saliencies() -> Mapping[str, Saliency]:
    """Every registered saliency by its name."""
    return MappingProxyType(_SALIENCIES)


def saliency_of(name: str) -> Saliency:
    """The saliency of a name.

    Raises:
        ConfigurationError: it is not registered.
    """
    if name not in _SALIENCIES:
        raise ConfigurationError(
            f"saliency {name!r} is not registered; known are {', '.join(sorted(_SALIENCIES))}; add it with "
            "pruneofa.sparsity.saliency.saliencies.register_saliency"
        )
    return _SALIENCIES[name]
