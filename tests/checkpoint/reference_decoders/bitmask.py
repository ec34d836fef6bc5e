"""Bit masks made dense by numpy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.bitmask import BitmaskMatrix
from pruneofa.checkpoint.dtypes import bit_view
from pruneofa.errors import CheckpointError

_POPCOUNT = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1).astype(np.uint8)


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
