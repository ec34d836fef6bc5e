"""Stored matrices made dense by the package's compiled part; docs/format.md is the specification."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.bitmask import BitmaskMatrix
from pruneofa.checkpoint.dtypes import DType, bit_view
from pruneofa.checkpoint.packed.matrix import PackedMatrix
from pruneofa.errors import CheckpointError
from pruneofa.native import native_module

__all__ = ["decode_bitmask", "decode_packed"]


def decode_packed(encoded: PackedMatrix, shape: tuple[int, int], dtype: DType, where: str) -> NDArray[Any]:
    """Check an encoded matrix and give the dense one.

    Args:
        encoded: Its arrays, of the types and numbers of dimensions that the class names.
        shape: (R, C), with at least one element.
        dtype: Logical type of the matrix.
        where: File and tensor, for error messages.

    Raises:
        CheckpointError: A table is impossible, the stream ends early or late, parts do not agree, or a value is zero.
        EngineError: The compiled part is missing.
    """
    dense = np.zeros(shape, dtype=dtype.storage)
    turn = "shift128" if dtype.name == "int8" else "sign_last" if dtype.is_float else "none"
    decode = native_module().decode_packed
    try:
        decode(encoded.tables, encoded.stream, encoded.planes, encoded.scales, turn, bit_view(dense))
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from None
    return dense


def decode_bitmask(encoded: BitmaskMatrix, where: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Check an encoded matrix and give the dense one.

    Args:
        encoded: Its arrays must already have the types and shapes that `encoded.shape` asks for.
        where: File and tensor, for error messages.

    Returns:
        The dense matrix [R, C] in the element type of `compressed`, and the number of stored elements per row [R].

    Raises:
        CheckpointError: Padding bits set, counts that do not agree, or a stored element that is zero.
        EngineError: The compiled part is missing.
    """
    dense = np.zeros(encoded.shape, dtype=encoded.compressed.dtype)
    counts = np.empty(encoded.shape[0], dtype=np.int64)
    decode = native_module().decode_bitmask
    try:
        decode(bit_view(encoded.compressed), encoded.bitmask, encoded.row_offsets, bit_view(dense), counts)
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from None
    return dense, counts
