"""Stored matrices made dense by the package's compiled part, or by numpy where that part was not built.

Both give the same bits, and refuse the same matrices with the same words; `packed` and `bitmask` are the specification.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint import bitmask
from pruneofa.checkpoint.bitmask import BitmaskMatrix
from pruneofa.checkpoint.dtypes import DType, bit_view
from pruneofa.checkpoint.packed import matrix as packed
from pruneofa.checkpoint.packed.matrix import PackedMatrix
from pruneofa.errors import CheckpointError
from pruneofa.native import native_if_built

__all__ = ["decode_bitmask", "decode_packed"]


def decode_packed(encoded: PackedMatrix, shape: tuple[int, int], dtype: DType, where: str) -> NDArray[Any]:
    """Check an encoded matrix and give the dense one; arguments and errors are those of `packed.decode_packed`."""
    native = native_if_built()
    if native is None:
        return packed.decode_packed(encoded, shape, dtype, where)
    dense = np.zeros(shape, dtype=dtype.storage)
    turn = "shift128" if dtype.name == "int8" else "sign_last" if dtype.is_float else "none"
    try:
        native.decode_packed(encoded.tables, encoded.stream, encoded.planes, encoded.scales, turn, bit_view(dense))
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from None
    return dense


def decode_bitmask(encoded: BitmaskMatrix, where: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Check an encoded matrix and give the dense one; arguments and errors are those of `bitmask.decode_bitmask`."""
    native = native_if_built()
    if native is None:
        return bitmask.decode_bitmask(encoded, where)
    dense = np.zeros(encoded.shape, dtype=encoded.compressed.dtype)
    counts = np.empty(encoded.shape[0], dtype=np.int64)
    try:
        native.decode_bitmask(
            bit_view(encoded.compressed), encoded.bitmask, encoded.row_offsets, bit_view(dense), counts
        )
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from None
    return dense, counts
