"""The bit-mask encoding of a matrix: one bit per element, and the elements that are not +0.0, row by row.

The layout (`bitmask`, `compressed`, `row_offsets`) is the one known from the compressed-tensors project.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.dtypes import bit_view
from pruneofa.errors import CheckpointError

__all__ = ["BitmaskMatrix", "decode_bitmask", "encode_bitmask", "encoded_bytes"]

_POPCOUNT = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1).astype(np.uint8)


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


def decode_bitmask(encoded: BitmaskMatrix, where: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Check an encoded matrix and give the dense one.

    Args:
        encoded: Its arrays must already have the types and shapes that `encoded.shape` asks for.
        where: File and tensor, for error messages.

    Returns:
        The dense matrix [R, C] in the element type of `compressed`, and the number of stored elements per row [R].

    Raises:
        CheckpointError: Padding bits set, counts that do not agree, or a stored element that is zero.
    """
    rows, columns = encoded.shape
    remedy = "the file is damaged; copy or compress it again"
    if columns % 8 and rows and np.any(encoded.bitmask[:, -1] >> np.uint8(columns % 8)):
        raise CheckpointError(f"{where}: bitmask has padding bits set beyond column {columns}, 0 is needed; {remedy}")
    counts = _POPCOUNT[encoded.bitmask].sum(axis=1, dtype=np.int64)
    total = int(counts.sum())
    if total != encoded.compressed.size:
        raise CheckpointError(
            f"{where}: bitmask has {total} bits set, compressed holds {encoded.compressed.size} elements; {remedy}"
        )
    expected = np.cumsum(counts) - counts
    wrong = np.flatnonzero(expected != encoded.row_offsets)
    if wrong.size:
        row = int(wrong[0])
        raise CheckpointError(
            f"{where}: row_offsets[{row}] is {int(encoded.row_offsets[row])}, the bitmask asks for "
            f"{int(expected[row])}; {remedy}"
        )
    if not bit_view(encoded.compressed).all():
        raise CheckpointError(f"{where}: compressed holds a zero, which the bitmask should leave out; {remedy}")
    dense = np.zeros((rows, columns), dtype=encoded.compressed.dtype)
    mask = np.unpackbits(encoded.bitmask, axis=1, count=columns, bitorder="little").astype(bool, copy=False)
    bit_view(dense)[mask] = bit_view(encoded.compressed)
    return dense, counts


def encoded_bytes(rows: int, columns: int, nonzero: int, itemsize: int, scales: int = 0) -> int:
    """Bytes that a matrix takes in bit-mask form, its shape and float32 scales included."""
    return 16 + rows * ((columns + 7) // 8) + 8 * rows + nonzero * itemsize + 4 * scales
