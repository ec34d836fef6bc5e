"""int8 weights: the integers behind a weight that lies on a grid, and symmetric quantization of one that does not."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.dtypes import DType, bit_view, from_float32, to_float32

__all__ = ["dequantize", "grid_integers", "is_usable_scale", "quantize_per_channel"]


_ELEMENTS_AT_ONCE = 2**20


def is_usable_scale(scale: NDArray[np.float32]) -> bool:
    """Whether every scale is finite and above zero."""
    return bool(np.all(np.isfinite(scale)) and np.all(scale > 0))


def dequantize(integers: NDArray[np.int8], scale: NDArray[np.float32], dtype: DType) -> NDArray[Any]:
    """The weight that `integers` stand for: the float32 product q * scale, rounded to `dtype`.

    Args:
        integers: [R, C].
        scale: float32 [R] (per channel) or [1] (per tensor).
        dtype: float32, float16 or bfloat16 (the result then is uint16 bits).
    """
    result = np.empty(integers.shape, dtype=dtype.storage)
    scales = np.broadcast_to(scale.astype(np.float32), integers.shape[:1])
    # In parts of rows: a matrix may be most of the memory there is.
    rows = max(1, _ELEMENTS_AT_ONCE // max(1, integers.shape[1]))
    with np.errstate(over="ignore"):
        for begin in range(0, integers.shape[0], rows):
            part = slice(begin, begin + rows)
            result[part] = from_float32(integers[part] * scales[part, None], dtype)
    return result


def grid_integers(weight: NDArray[Any], scale: NDArray[np.float32], dtype: DType) -> NDArray[np.int8] | None:
    """The int8 matrix q whose `dequantize` equals `weight` bit for bit, or None where there is none.

    A weight of -0.0 or NaN is on no grid.

    Args:
        weight: [R, C] in `dtype.storage`.
        scale: float32 [R] or [1].
        dtype: Logical type of the weight.
    """
    if not is_usable_scale(scale):
        return None
    integers = _rounded(to_float32(weight, dtype), scale)
    same = bit_view(np.ascontiguousarray(weight)) == bit_view(dequantize(integers, scale, dtype))
    return integers if bool(same.all()) else None


def quantize_per_channel(weight: NDArray[Any], dtype: DType) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """Symmetric int8 quantization, one scale per row: absmax / 127, ties to even; an empty row's scale is 1.

    Args:
        weight: [R, C] in `dtype.storage`.
        dtype: Logical type of the weight.

    Returns:
        (q int8 [R, C], scale float32 [R]), or None where a value is not finite.
    """
    values = to_float32(weight, dtype)
    if not np.all(np.isfinite(values)):
        return None
    absmax = np.max(np.abs(values), axis=1, initial=0.0).astype(np.float32)
    # A subnormal absmax may divide to 0; the smallest float32 above 0 keeps the row representable.
    scale = np.maximum(absmax / np.float32(127), np.finfo(np.float32).smallest_subnormal)
    scale = np.where(absmax > 0, scale, np.float32(1)).astype(np.float32)
    return _rounded(values, scale), scale


def _rounded(values: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.int8]:
    with np.errstate(all="ignore"):
        quotient = np.rint(values.astype(np.float64) / scale.astype(np.float64)[:, None])
    integers: NDArray[np.int8] = np.clip(np.nan_to_num(quotient), -128, 127).astype(np.int8)
    return integers
