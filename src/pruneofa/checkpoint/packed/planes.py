"""The bytes of a tensor's values, each place by itself, so that bytes of one kind are counted and coded together."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.dtypes import DType

__all__ = ["byte_planes"]


def byte_planes(bits: NDArray[Any], dtype: DType) -> list[NDArray[np.uint8]]:
    """The bytes of values, most significant first.

    int8 is shifted by 128 so that neighbours stay neighbours. The sign of a float goes to its lowest bit, so that the
    first byte holds exponent bits alone.

    Args:
        bits: [n], the values as unsigned integers of their width.
        dtype: Their logical type.
    """
    if dtype.name == "int8":
        return [bits ^ np.uint8(0x80)]
    if dtype.is_float:
        bits = bits << _number(bits, 1) | bits >> _number(bits, 8 * dtype.itemsize - 1)
    return [(bits >> _number(bits, 8 * place)).astype(np.uint8) for place in reversed(range(dtype.itemsize))]


def _number(bits: NDArray[Any], value: int) -> Any:
    return bits.dtype.type(value)
