"""Element types of stored tensors: their names, their safetensors codes, and how numpy holds their bits."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DTYPES_BY_CODE", "DTYPES_BY_NAME", "DType", "bit_view", "count_nonzero", "from_float32", "to_float32"]


@dataclass(frozen=True)
class DType:
    """One element type.

    Attributes:
        name: Name in manifests and reports, e.g. `"float32"`.
        code: The safetensors code of the type, e.g. `"F32"`.
        storage: The little-endian numpy type that holds the bits. It differs in kind only for types that numpy lacks:
            bfloat16 is held as uint16 bits, the 8-bit floats as uint8 bits.
        stored_code: The safetensors code of `storage`; a `.pofa` file stores that one, so that any reader can read it.
    """

    name: str
    code: str
    storage: np.dtype[Any]
    stored_code: str

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return int(self.storage.itemsize)

    @property
    def is_float(self) -> bool:
        """Whether weights of this type can be quantized to int8."""
        return self.name in ("float32", "float16", "bfloat16")


def _table() -> tuple[DType, ...]:
    same = [
        ("float64", "F64", "<f8"),
        ("float32", "F32", "<f4"),
        ("float16", "F16", "<f2"),
        ("complex64", "C64", "<c8"),
        ("int64", "I64", "<i8"),
        ("int32", "I32", "<i4"),
        ("int16", "I16", "<i2"),
        ("int8", "I8", "|i1"),
        ("uint64", "U64", "<u8"),
        ("uint32", "U32", "<u4"),
        ("uint16", "U16", "<u2"),
        ("uint8", "U8", "|u1"),
        ("bool", "BOOL", "|b1"),
    ]
    bits_only = [
        ("bfloat16", "BF16", "<u2", "U16"),
        ("float8_e4m3", "F8_E4M3", "|u1", "U8"),
        ("float8_e5m2", "F8_E5M2", "|u1", "U8"),
        ("float8_e8m0", "F8_E8M0", "|u1", "U8"),
    ]
    plain = [DType(name, code, np.dtype(storage), code) for name, code, storage in same]
    return tuple(plain + [DType(name, code, np.dtype(storage), stored) for name, code, storage, stored in bits_only])


DTYPES_BY_CODE: dict[str, DType] = {dtype.code: dtype for dtype in _table()}
DTYPES_BY_NAME: dict[str, DType] = {dtype.name: dtype for dtype in _table()}


def bit_view(array: NDArray[Any]) -> NDArray[Any]:
    """The same memory as unsigned integers, so that -0.0 and NaN compare by their bits.

    Args:
        array: C-contiguous array of 1, 2, 4 or 8 byte elements, any shape.
    """
    # numpy refuses to change the type of a 0-d view in older versions, so scalars pass through one dimension.
    return array.reshape(-1).view(f"<u{array.dtype.itemsize}").reshape(array.shape)


def count_nonzero(array: NDArray[Any]) -> int:
    """How many elements have any bit set: all but +0.0 (for integers: all but 0)."""
    return int(np.count_nonzero(bit_view(array)))


def to_float32(array: NDArray[Any], dtype: DType) -> NDArray[np.float32]:
    """Widen float32, float16 or bfloat16 (as uint16 bits) values to float32, exactly. What is float32 is given back."""
    if dtype.name == "bfloat16":
        return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return array.astype(np.float32, copy=False)


def from_float32(array: NDArray[np.float32], dtype: DType) -> NDArray[Any]:
    """Round finite float32 values to float32, float16 or bfloat16 (as uint16 bits), to nearest, ties to even."""
    if dtype.name == "bfloat16":
        bits = np.ascontiguousarray(array).view(np.uint32)
        rounding = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        return ((bits + rounding) >> np.uint32(16)).astype(np.uint16)
    with np.errstate(over="ignore"):
        return array.astype(dtype.storage)
