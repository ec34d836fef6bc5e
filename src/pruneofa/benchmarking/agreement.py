"""Whether two runtimes computed the same model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Agreement", "compare"]

_Answers = Mapping[str, NDArray[np.float32]]

_LARGEST_RELATIVE_ERROR = 0.5


@dataclass(frozen=True)
class Agreement:
    """How near answers are to the reference's.

    Attributes:
        difference: Largest absolute difference of any number.
        largest: Largest absolute value of the reference.
        relative: Root mean square of the differences over that of the reference.
        same: Share of equal labels (places of the largest number along the last axis); of vectors and spans too.
    """

    difference: float
    largest: float
    relative: float
    same: float

    @property
    def holds(self) -> bool:
        """Whether it is the same model: the differences are of the size that rounding makes.

        An int8 model on other activation grids (dynamic ones, another calibration) may differ in single answers; what
        computes something else differs in all, by about the answers' own size.
        """
        return self.relative <= _LARGEST_RELATIVE_ERROR


def compare(reference: Sequence[_Answers], other: Sequence[_Answers]) -> Agreement | None:
    """Compare the answers to several inputs; None where there are others, of other shapes, or that are no numbers."""
    expected, found = [], []
    same: list[NDArray[np.bool_]] = []
    for ours, theirs in zip(reference, other, strict=True):
        if ours.keys() != theirs.keys():
            return None
        for name, values in ours.items():
            if values.shape != theirs[name].shape or not np.isfinite(theirs[name]).all():
                return None
            expected.append(values.reshape(-1))
            found.append(theirs[name].reshape(-1))
            same.append((values.argmax(axis=-1) == theirs[name].argmax(axis=-1)).reshape(-1))
    a, b = (np.concatenate(values).astype(np.float64) for values in (expected, found))
    size = float(np.sqrt(np.mean(a**2)))
    error = float(np.sqrt(np.mean((a - b) ** 2)))
    return Agreement(
        difference=float(np.abs(a - b).max()),
        largest=float(np.abs(a).max()),
        relative=error / size if size else (0.0 if error == 0 else float("inf")),
        same=float(np.concatenate(same).mean()),
    )
