"""The bit-mask encoding of a matrix: one bit per element, and the elements that are not +0.0, row by row.

The layout (`bitmask`, `compressed`, `row_offsets`) is the one known from the compressed-tensors project.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.dtypes import bit_view

__all__ = ["BitmaskMatrix", "encode_bitmask", "encoded_bytes"]


@dataclass(frozen=True)
class BitmaskMatrix:
    """A matrix of shape [R, C] in bit-mask form.

    Attributes:
        shape: (R, C).
        compressed: 1-D, the elements with any bit set, row-major.
        bitmask: uint8 [R, ceil(C/8)]; column c is bit c % 8 (least significant first) of byte c // 8; padding bits 0.
        row_offsets: int64 [R], index in `compressed` of each row's first element (exclusive sums).
    """

    shape: tuple[int, int]
    compressed: NDArray[Any]
    bitmask: NDArray[np.uint8]
    row_offsets: NDArray[np.int64]


def encode_bitmask(matrix: NDArray[Any]) -> BitmaskMatrix:
    """Encode a matrix. Zero means all bits zero: -0.0, NaN and subnormal numbers are kept.

    Args:
        matrix: [R, C], any element type of 1, 2, 4 or 8 bytes.
    """
    rows, columns = matrix.shape
    matrix = np.ascontiguousarray(matrix)
    mask = bit_view(matrix) != 0
    counts = np.count_nonzero(mask, axis=1).astype(np.int64)
    offsets = np.zeros(rows, dtype=np.int64)
    np.cumsum(counts[:-1], out=offsets[1:])
    packed = np.packbits(mask, axis=1, bitorder="little").reshape(rows, (columns + 7) // 8)
    return BitmaskMatrix((rows, columns), matrix[mask], packed, offsets)


def encoded_bytes(rows: int, columns: int, nonzero: int, itemsize: int, scales: int = 0) -> int:
    """Bytes that a matrix takes in bit-mask form, its shape and float32 scales included."""
    return 16 + rows * ((columns + 7) // 8) + 8 * rows + nonzero * itemsize + 4 * scales
