"""Which weight matters: saliencies, registered by the name that recipes store."""

from collections.abc import Callable

import torch

Saliency = Callable[[torch.Tensor], torch.Tensor]


def magnitude(weight: torch.Tensor) -> torch.Tensor:
    """Absolute value of each weight (gradual magnitude pruning; PruneOFA, section 3)."""
    return weight.detach().abs()


SALIENCIES: dict[str, Saliency] = {"magnitude": magnitude}
