"""Packed matrices made dense by numpy."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.dtypes import DType, bit_view
from pruneofa.checkpoint.packed.frequencies import FrequencyTable
from pruneofa.checkpoint.packed.matrix import PackedMatrix, classes_of_values
from pruneofa.checkpoint.packed.positions import ALL_ONES, Blocks, group_model
from pruneofa.checkpoint.packed.rans import SymbolModel
from pruneofa.checkpoint.packed.scale_classes import CLASS_TABLE_BITS, class_frequencies
from pruneofa.errors import CheckpointError
from reference_decoders.rans import Decoder
from reference_decoders.tables import PackedTables, read_tables

_REMEDY = "the file is damaged; copy or compress it again"


def decode_packed(encoded: PackedMatrix, shape: tuple[int, int], dtype: DType, where: str) -> NDArray[Any]:
    """Check an encoded matrix and give the dense one.

    Args:
        encoded: Its arrays, of the types and numbers of dimensions that the class names.
        shape: (R, C), with at least one element.
        dtype: Logical type of the matrix.
        where: File and tensor, for error messages.

    Raises:
        CheckpointError: A table is impossible, the stream ends early or late, parts do not agree, or a value is zero.
    """
    # All tables are checked before the first symbol is decoded.
    tables = read_tables(
        encoded.tables.tobytes(),
        dtype.itemsize,
        all_coded=encoded.planes is None,
        scaled=encoded.scales is not None,
        where=where,
    )
    decoder = Decoder(encoded.stream, 1 << tables.lane_bits, where)
    classes = [
        np.zeros(size, dtype=np.uint8) if table is None else decoder.decode(SymbolModel.of(table), size)
        for table, size in zip(tables.classes, shape, strict=True)
    ]
    blocks = Blocks(classes[0], classes[1], tables.probabilities, tables.group)
    contexts = blocks.contexts if tables.probabilities.size > 1 else None
    symbols = decoder.decode(group_model(tables.probabilities, tables.group), blocks.contexts.size, contexts)
    mask = _joined(classes, tables, symbols, where)
    count = int(np.count_nonzero(mask))
    raw = sum(table is None for table in tables.planes)
    if encoded.planes is not None and encoded.planes.shape != (raw, count):
        raise CheckpointError(
            f"{where}: section packed_planes has shape {list(encoded.planes.shape)}, {[raw, count]} is needed; "
            f"{_REMEDY}"
        )
    stored: Iterator[NDArray[np.uint8]] = iter(()) if encoded.planes is None else iter(encoded.planes)
    if tables.unit is None:
        planes = [
            next(stored) if table is None else decoder.decode(SymbolModel.of(table), count) for table in tables.planes
        ]
    else:
        table = tables.planes[0]
        assert table is not None
        assert encoded.scales is not None
        planes = [_decode_by_scale(decoder, table, tables.unit, encoded.scales, mask)]
    decoder.finish()
    values = from_byte_planes(planes, dtype)
    if not values.all():
        raise CheckpointError(f"{where}: holds a zero among the values, which the mask should leave out; {_REMEDY}")
    dense = np.zeros(shape, dtype=dtype.storage)
    bit_view(dense)[mask] = values
    return dense


def _decode_by_scale(
    decoder: Decoder, table: FrequencyTable, unit: int, scales: NDArray[np.float32], mask: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """The symbols of the values in the order of the matrix, from a run for each class of rows."""
    classes, of_value = classes_of_values(scales, mask)
    decoder.check_length(of_value.size)
    parts = [
        decoder.decode(SymbolModel(CLASS_TABLE_BITS, frequencies[None, :]), count)
        for frequencies, count in zip(
            class_frequencies(table, unit, classes), np.bincount(of_value, minlength=classes.size).tolist(), strict=True
        )
        if count
    ]
    result = np.empty(of_value.size, dtype=np.uint8)
    result[np.argsort(of_value, kind="stable")] = np.concatenate([result[:0], *parts])
    return result


def _joined(
    classes: list[NDArray[np.uint8]], tables: PackedTables, symbols: NDArray[np.uint8], where: str
) -> NDArray[np.bool_]:
    """The mask [R, C] of its symbols, block after block.

    Raises:
        CheckpointError: Padding bits are set.
    """
    mask = np.zeros((classes[0].size, classes[1].size), dtype=bool)
    position = 0
    for number, (block, probability) in enumerate(np.ndenumerate(tables.probabilities)):
        places = np.ix_(*(np.flatnonzero(of == index) for of, index in zip(classes, block, strict=True)))
        if probability in (0, ALL_ONES):
            mask[places] = probability == ALL_ONES
            continue
        size = mask[places].size
        part = symbols[position : position + -(-size // tables.group)]
        position += part.size
        bits = np.unpackbits(part[:, None], axis=1, count=tables.group, bitorder="little").reshape(-1)
        if bits[size:].any():
            raise CheckpointError(f"{where}: block {number} of the mask has padding bits set; {_REMEDY}")
        mask[places] = bits[:size].reshape(mask[places].shape)
    return mask


def from_byte_planes(planes: list[NDArray[np.uint8]], dtype: DType) -> NDArray[Any]:
    """The values [n] as unsigned integers again."""
    bits: NDArray[Any] = planes[0].astype(f"<u{dtype.itemsize}")
    for plane in planes[1:]:
        bits = bits << _number(bits, 8) | plane
    if dtype.name == "int8":
        return bits ^ np.uint8(0x80)
    if dtype.is_float:
        bits = bits >> _number(bits, 1) | bits << _number(bits, 8 * dtype.itemsize - 1)
    return bits


def _number(bits: NDArray[Any], value: int) -> Any:
    return bits.dtype.type(value)
