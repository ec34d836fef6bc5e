"""What a saliency sees of a weight."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SeenWeight"]


@dataclass(frozen=True)
class SeenWeight:
    """What a saliency sees of one weight.

    Attributes:
        weight: `[outputs, inputs]`. The dense values, those under the mask too; of a saliency with an update the
            pruned ones are zero.
        fisher: blocks of the mean of `g g^T` over backward passes, see `fisher.FisherBlocks`; None unless gradients
            are needed.
        input_power: mean square of each input over tokens that are no padding, `[inputs]`; None unless needed.
    """

    weight: "Tensor"
    fisher: "Tensor | None" = None
    input_power: "Tensor | None" = None
