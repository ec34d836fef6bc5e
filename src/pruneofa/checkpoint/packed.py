"""The packed encoding of a matrix: entropy-coded positions and values, for the smallest file.

A stream holds, one after the other, the classes of rows and columns, the mask, and the values' bytes; see
docs/format.md for every bit of it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.dtypes import DType, bit_view
from pruneofa.checkpoint.frequencies import FrequencyTable, choose_table, read_table
from pruneofa.checkpoint.planes import byte_planes, from_byte_planes
from pruneofa.checkpoint.positions import GROUP_SIZES, MAX_CLASSES, Blocks, choose_model, group_model
from pruneofa.checkpoint.rans import MAX_LANE_BITS, MAX_STEPS, Decoder, Run, SymbolModel, encode
from pruneofa.errors import CheckpointError

__all__ = ["MAX_ELEMENTS", "MAX_ELEMENTS_PER_BYTE", "PackedMatrix", "decode_packed", "encode_packed"]

MAX_ELEMENTS = MAX_STEPS << MAX_LANE_BITS  # so that no run is longer than all lanes may be
MAX_ELEMENTS_PER_BYTE = 4096
_BYTES_PER_LANE = 1200  # a lane costs about 3 bytes, so lanes add a quarter of a percent
_MAX_WRITTEN_LANES = 4096
_HEADER_BYTES = 5
_REMEDY = "the file is damaged; copy or compress it again"


@dataclass(frozen=True)
class PackedMatrix:
    """A matrix in packed form.

    Attributes:
        tables: uint8 [n]: numbers of lanes and classes, probabilities and frequency tables.
        stream: uint16 [n]: the states of the lanes, then the words that they read.
        planes: uint8 [k, non-zeros]: the bytes of the values that are not worth coding, most significant first; None
            where every byte is coded by rule, as those of int8 are.
    """

    tables: NDArray[np.uint8]
    stream: NDArray[np.uint16]
    planes: NDArray[np.uint8] | None

    @property
    def nbytes(self) -> int:
        """Bytes in the file, without scales."""
        return int(self.tables.nbytes + self.stream.nbytes + (0 if self.planes is None else self.planes.nbytes))


def encode_packed(matrix: NDArray[Any], dtype: DType) -> PackedMatrix:
    """Encode a matrix. Zero means all bits zero: -0.0, NaN and subnormal numbers are kept.

    Args:
        matrix: [R, C] with at least one and at most MAX_ELEMENTS elements, in `dtype.storage`.
        dtype: Its logical type, at most 4 bytes wide.
    """
    bits = bit_view(np.ascontiguousarray(matrix))
    mask = bits != 0
    positions = choose_model(mask)
    tables = bytearray()
    runs: list[Run] = []
    cost = positions.bits
    for classes, count in zip(
        (positions.row_classes, positions.column_classes), positions.probabilities.shape, strict=True
    ):
        if count > 1:
            cost += _add_run(classes, tables, runs)
    tables += positions.probabilities.astype("<u2").tobytes()
    blocks = Blocks(positions.row_classes, positions.column_classes, positions.probabilities, positions.group)
    contexts = blocks.contexts if positions.probabilities.size > 1 else None
    runs.append(Run(group_model(positions.probabilities, positions.group), blocks.split(mask), contexts))
    coded, raw = 0, []
    for index, plane in enumerate(byte_planes(bits[mask], dtype)):
        table, plane_cost = _table_of(plane)
        if dtype.itemsize == 1 or plane_cost < 8 * plane.size:
            coded |= 1 << index
            tables += table.to_bytes()
            runs.append(Run(SymbolModel.of(table), plane))
            cost += plane_cost
        else:
            raw.append(plane)
    lane_bits = _lane_bits(cost / 8, max(run.symbols.size for run in runs))
    header = bytes((lane_bits, *positions.probabilities.shape, positions.group, coded))
    stream = encode(runs, 1 << lane_bits)
    planes = None
    if dtype.itemsize > 1:
        planes = np.stack(raw) if raw else np.zeros((0, int(np.count_nonzero(mask))), dtype=np.uint8)
    return PackedMatrix(np.frombuffer(header + bytes(tables), dtype=np.uint8), stream, planes)


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
    tables = _Tables(encoded.tables.tobytes(), where)
    lane_bits, row_classes, column_classes, group, coded = tables.header(dtype.itemsize, encoded.planes is None)
    classes = []
    # Tables come in the order of their runs, but all are checked before the first symbol is decoded.
    class_tables = [
        tables.table(count, name) if count > 1 else None
        for name, count in (("row classes", row_classes), ("column classes", column_classes))
    ]
    probabilities = tables.probabilities(row_classes, column_classes)
    plane_tables = [
        tables.table(256, f"plane {index}") if coded >> index & 1 else None for index in range(dtype.itemsize)
    ]
    tables.finish()
    decoder = Decoder(encoded.stream, 1 << lane_bits, where)
    for table, size in zip(class_tables, shape, strict=True):
        classes.append(np.zeros(size, dtype=np.uint8) if table is None else decoder.decode(SymbolModel.of(table), size))
    blocks = Blocks(classes[0], classes[1], probabilities, group)
    contexts = blocks.contexts if probabilities.size > 1 else None
    symbols = decoder.decode(group_model(probabilities, group), blocks.contexts.size, contexts)
    mask = blocks.join(symbols, where)
    count = int(np.count_nonzero(mask))
    raw = sum(table is None for table in plane_tables)
    if encoded.planes is not None and encoded.planes.shape != (raw, count):
        raise CheckpointError(
            f"{where}: section packed_planes has shape {list(encoded.planes.shape)}, {[raw, count]} is needed; "
            f"{_REMEDY}"
        )
    stored = iter(()) if encoded.planes is None else iter(encoded.planes)
    planes = [next(stored) if table is None else decoder.decode(SymbolModel.of(table), count) for table in plane_tables]
    decoder.finish()
    values = from_byte_planes(planes, dtype)
    if not values.all():
        raise CheckpointError(f"{where}: holds a zero among the values, which the mask should leave out; {_REMEDY}")
    dense = np.zeros(shape, dtype=dtype.storage)
    bit_view(dense)[mask] = values
    return dense


class _Tables:
    """Reads the section of tables from its start to its end."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data, self._where, self._position = data, where, 0

    def header(self, itemsize: int, all_coded: bool) -> tuple[int, int, int, int, int]:
        if len(self._data) < _HEADER_BYTES:
            raise CheckpointError(
                f"{self._where}: section packed_tables has {len(self._data)} bytes, at least {_HEADER_BYTES} are "
                f"needed; {_REMEDY}"
            )
        self._position = _HEADER_BYTES
        lane_bits, rows, columns, group, coded = self._data[:_HEADER_BYTES]
        least = (1 << itemsize) - 1 if all_coded else 0
        for name, value, fits, allowed in (
            ("lane bits", lane_bits, lane_bits <= MAX_LANE_BITS, f"0 to {MAX_LANE_BITS}"),
            ("row classes", rows, 1 <= rows <= MAX_CLASSES, f"1 to {MAX_CLASSES}"),
            ("column classes", columns, 1 <= columns <= MAX_CLASSES, f"1 to {MAX_CLASSES}"),
            ("bits to a symbol", group, group in GROUP_SIZES, " or ".join(map(str, GROUP_SIZES))),
            ("coded planes", coded, least <= coded < 1 << itemsize, f"{least} to {(1 << itemsize) - 1}"),
        ):
            if not fits:
                raise CheckpointError(
                    f"{self._where}: packed_tables says {name} {value}, allowed is {allowed}; {_REMEDY}"
                )
        return lane_bits, rows, columns, group, coded

    def table(self, symbols: int, name: str) -> FrequencyTable:
        where = f"{self._where}: table of {name}"
        table, self._position = read_table(self._data, self._position, symbols, where)
        return table

    def probabilities(self, rows: int, columns: int) -> NDArray[np.uint16]:
        end = self._position + 2 * rows * columns
        if end > len(self._data):
            raise CheckpointError(
                f"{self._where}: packed_tables ends at byte {len(self._data)}, probabilities need {end}; {_REMEDY}"
            )
        found = np.frombuffer(self._data[self._position : end], dtype="<u2")
        self._position = end
        return found.reshape(rows, columns)

    def finish(self) -> None:
        left = len(self._data) - self._position
        if left:
            raise CheckpointError(f"{self._where}: {left} bytes follow the last of packed_tables; {_REMEDY}")


def _add_run(symbols: NDArray[np.uint8], tables: bytearray, runs: list[Run]) -> float:
    table, cost = _table_of(symbols)
    tables += table.to_bytes()
    runs.append(Run(SymbolModel.of(table), symbols))
    return cost


def _table_of(symbols: NDArray[np.uint8]) -> tuple[FrequencyTable, float]:
    if symbols.size == 0:
        return FrequencyTable(8, np.eye(1, 256, dtype=np.int64)[0] * 256), 0.0
    return choose_table(np.bincount(symbols, minlength=256).astype(np.int64))


def _lane_bits(nbytes: float, longest_run: int) -> int:
    lanes = min(_MAX_WRITTEN_LANES, max(1, int(nbytes / _BYTES_PER_LANE)))
    bits = lanes.bit_length() - 1
    while longest_run > MAX_STEPS << bits:
        bits += 1
    return bits
