"""The entropy of a sparse matrix: the size that no coder gets below that knows only how many and which values occur.

Where rows have scales, it knows which rows have like ones too: a finer scale spreads the same weights over more levels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.dtypes import DType, bit_view
from pruneofa.checkpoint.packed.planes import byte_planes

__all__ = ["entropy_bits", "position_bits", "value_bits"]


_VALUES_IN_GROUP = 4096
_MAX_GROUPS = 16


def entropy_bits(tensor: NDArray[Any], dtype: DType, scales: NDArray[np.float32] | None = None) -> float:
    """Bits of the positions and of the values that are not +0.0, both as if drawn independently.

    A coder that knows more, such as which rows are denser, can take fewer.

    Args:
        tensor: Any shape, in `dtype.storage`; the integers of an int8 weight.
        dtype: Its logical type. Values wider than a byte count byte by byte, each place by itself.
        scales: float32 [R] or [1], of an int8 matrix [R, C]. Its rows, sorted by scale, are then cut into up to 16
            groups of like size (one for each 4096 values, so that their histograms mean something), and the values of
            each group are counted by themselves.
    """
    bits = bit_view(np.ascontiguousarray(tensor))
    values = bits[bits != 0]
    positions = position_bits(bits.size, values.size)
    groups = min(_MAX_GROUPS, values.size // _VALUES_IN_GROUP)
    if scales is None or scales.size == 1 or groups < 2:
        return positions + sum(value_bits(plane) for plane in byte_planes(values, dtype))
    rows = np.array_split(bits[np.argsort(scales, kind="stable")], groups)
    return positions + sum(value_bits(plane) for part in rows for plane in byte_planes(part[part != 0], dtype))


def position_bits(size: int, nonzero: int) -> float:
    """Entropy of where `nonzero` of `size` elements are: size * H(nonzero / size)."""
    if nonzero in (0, size):
        return 0.0
    share = nonzero / size
    return float(-size * (share * np.log2(share) + (1 - share) * np.log2(1 - share)))


def value_bits(symbols: NDArray[np.uint8]) -> float:
    """Entropy of bytes [n]: n times that of their histogram."""
    counts = np.bincount(symbols, minlength=256)
    counts = counts[counts > 0]
    return float(np.sum(counts * np.log2(symbols.size / counts)))
