"""How each tensor of a model goes into a compressed file: which encoding pays, and its sections."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.bitmask import encode_bitmask, encoded_bytes
from pruneofa.checkpoint.dtypes import DTYPES_BY_CODE, DTYPES_BY_NAME, DType, count_nonzero
from pruneofa.checkpoint.int8 import grid_integers, quantize_per_channel
from pruneofa.checkpoint.layout import (
    BITMASK,
    BITMASK_INT8,
    DENSE,
    DENSE_INT8,
    PACKED,
    PACKED_INT8,
    TensorEntry,
    can_be_packed,
)
from pruneofa.checkpoint.model_folder import ModelFolder
from pruneofa.checkpoint.packed.matrix import MAX_ELEMENTS, MAX_ELEMENTS_PER_BYTE, PackedMatrix, encode_packed
from pruneofa.checkpoint.safetensors_file import Section
from pruneofa.errors import CheckpointError

__all__ = ["EncodedTensor", "encode_tensor"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedTensor:
    """One tensor ready to be written.

    Attributes:
        entry: Its line in the manifest.
        sections: What is stored.
        zeros: Elements that are +0.0 when decompressed.
        new_scale: float32 [R], where it was quantized here and not before; else None.
        off_grid: Whether it has an int8 scale but is not on that grid, so that it is stored as it is.
    """

    entry: TensorEntry
    sections: tuple[Section, ...]
    zeros: int
    new_scale: NDArray[np.float32] | None = None
    off_grid: bool = False


def encode_tensor(
    folder: ModelFolder, name: str, *, prunable: bool, quantize: bool, form: str = "bitmask"
) -> EncodedTensor:
    """Encode one tensor of a model folder.

    The values of a matrix become int8 where the folder holds a scale for it that reproduces every value bit for bit.
    A `prunable` matrix becomes a bit mask, any other is stored dense or so, whichever takes fewer bytes; in the form
    "packed" either is packed where that takes fewer bytes still.

    Args:
        folder: The opened model folder.
        name: The tensor.
        prunable: Whether the manifest names it among the encoder's or pooler's weights.
        quantize: Whether to quantize it here (lossy) if the folder holds no scale for it.
        form: "bitmask" or "packed".

    Raises:
        CheckpointError: It shall be quantized but holds NaN or infinity; or its scale is malformed.
    """
    info = folder.info(name)
    shape, dtype = info.shape, info.dtype
    weight = folder.tensor(name)
    dense = EncodedTensor(
        TensorEntry(name, dtype, shape, DENSE),
        (Section(name, _stored(dtype), shape, lambda: folder.tensor(name)),),
        info.size - count_nonzero(weight),
    )
    if len(shape) != 2 or _names_collide(folder, name):
        return dense
    integers, scale, new_scale, off_grid = _integers(folder, name, weight, quantize=quantize and prunable)
    values = weight if integers is None else integers
    nonzero = count_nonzero(values)
    scales = 0 if scale is None else scale.size
    packed = _packed(values, dtype, scale) if form == "packed" else None
    # Of equal sizes the first is taken.
    needed = {} if prunable else {DENSE: info.nbytes}
    if integers is not None and not prunable:
        needed[DENSE_INT8] = integers.nbytes + 4 * scales
    needed[BITMASK] = encoded_bytes(shape[0], shape[1], nonzero, values.dtype.itemsize, scales)
    if packed is not None:
        needed[PACKED] = packed.nbytes + 4 * scales
    smallest = min(needed, key=needed.__getitem__)
    if smallest == DENSE:
        return EncodedTensor(dense.entry, dense.sections, dense.zeros, off_grid=off_grid)
    encoding = smallest if integers is None else {BITMASK: BITMASK_INT8, PACKED: PACKED_INT8}.get(smallest, smallest)
    entry = TensorEntry(name, dtype, shape, encoding)
    sections = _as_sections(entry, {**_arrays(encoding, values, packed), "scale": scale})
    return EncodedTensor(entry, sections, info.size - nonzero, new_scale, off_grid)


def _integers(
    folder: ModelFolder, name: str, weight: NDArray[Any], *, quantize: bool
) -> tuple[NDArray[np.int8] | None, NDArray[np.float32] | None, NDArray[np.float32] | None, bool]:
    """(q, scale, scale again if it is new, whether the folder's scale did not fit); q is None for a float tensor."""
    dtype = folder.info(name).dtype
    if not dtype.is_float:
        return None, None, None, False
    scale = folder.scale(name)
    if scale is not None:
        integers = grid_integers(weight, scale, dtype)
        if integers is not None:
            return integers, scale, None, False
        logger.warning(
            "%s: the weight %s does not lie on the int8 grid of its scale (a value is no whole multiple of it, or is "
            "-0.0); it is stored as %s. Quantize the model again if it should be int8.",
            folder.path,
            name,
            dtype.name,
        )
        return None, None, None, True
    if not quantize:
        return None, None, None, False
    quantized = quantize_per_channel(weight, dtype)
    if quantized is None:
        raise CheckpointError(
            f"{folder.path}: the weight {name!r} holds NaN or infinity, int8 needs finite values; check it"
        )
    return quantized[0], quantized[1], quantized[1], False


def _packed(values: NDArray[Any], dtype: DType, scale: NDArray[np.float32] | None) -> PackedMatrix | None:
    """The packed form of a matrix, or None where it has none or one that a reader would take for a bomb.

    Args:
        values: [R, C], int8 where there is a `scale`.
        dtype: Logical type of the matrix.
        scale: float32 [R] or [1], or None.
    """
    stored = dtype if scale is None else DTYPES_BY_NAME["int8"]
    if not can_be_packed(stored, values.shape) or values.size > MAX_ELEMENTS:
        return None
    packed = encode_packed(values, stored, scale if scale is not None and scale.size == values.shape[0] else None)
    return packed if values.size <= MAX_ELEMENTS_PER_BYTE * packed.nbytes else None


def _arrays(encoding: str, values: NDArray[Any], packed: PackedMatrix | None) -> dict[str, NDArray[Any] | None]:
    """What the sections of an encoding hold, but for the scale."""
    if encoding == DENSE_INT8:
        return {"levels": values}
    if encoding in (PACKED, PACKED_INT8):
        assert packed is not None
        return {"packed_tables": packed.tables, "packed_stream": packed.stream, "packed_planes": packed.planes}
    encoded = encode_bitmask(values)
    return {
        "shape": np.array(values.shape, dtype="<i8"),
        "compressed": encoded.compressed,
        "bitmask": encoded.bitmask,
        "row_offsets": encoded.row_offsets,
    }


def _as_sections(entry: TensorEntry, arrays: dict[str, NDArray[Any] | None]) -> tuple[Section, ...]:
    sections = []
    for name, spec in entry.sections().items():
        array = arrays[name.removeprefix(f"{entry.name}.")]
        assert array is not None, name
        sections.append(Section(name, spec.dtype, array.shape, _giving(array)))
    return tuple(sections)


def _giving(array: NDArray[Any]) -> Callable[[], NDArray[Any]]:
    return lambda: array


def _stored(dtype: DType) -> DType:
    return DTYPES_BY_CODE[dtype.stored_code]


def _names_collide(folder: ModelFolder, name: str) -> bool:
    parts = (
        *("shape", "compressed", "bitmask", "row_offsets", "scale", "levels"),
        *("packed_tables", "packed_stream", "packed_planes"),
    )
    return any(f"{name}.{part}" in folder.names for part in parts)
