"""The packed encoding of a matrix: entropy-coded positions and values, for the smallest file.

A stream holds, one after the other, the classes of rows and columns, the mask, and the values' bytes; see
docs/format.md for every bit of it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.dtypes import DType, bit_view
from pruneofa.checkpoint.packed.frequencies import FrequencyTable, choose_table
from pruneofa.checkpoint.packed.planes import byte_planes
from pruneofa.checkpoint.packed.positions import Blocks, choose_model, group_model
from pruneofa.checkpoint.packed.rans import MAX_LANE_BITS, MAX_STEPS, Run, SymbolModel, encode
from pruneofa.checkpoint.packed.scale_classes import CLASS_TABLE_BITS, choose_unit, class_frequencies, row_classes

__all__ = ["MAX_ELEMENTS", "MAX_ELEMENTS_PER_BYTE", "PackedMatrix", "classes_of_values", "encode_packed"]

MAX_ELEMENTS = MAX_STEPS << MAX_LANE_BITS  # so that no run is longer than all lanes may be
MAX_ELEMENTS_PER_BYTE = 4096
_BYTES_PER_LANE = 1200  # a lane costs about 3 bytes, so lanes add a quarter of a percent
_MAX_WRITTEN_LANES = 4096
_BY_SCALE = 0x80  # in the byte of the coded planes: a unit follows


@dataclass(frozen=True)
class PackedMatrix:
    """A matrix in packed form.

    Attributes:
        tables: uint8 [n]: numbers of lanes and classes, probabilities and frequency tables.
        stream: uint16 [n]: the states of the lanes, then the words that they read.
        planes: uint8 [k, non-zeros]: the bytes of the values that are not worth coding, most significant first; None
            where every byte is coded by rule, as those of int8 are.
        scales: float32 [R], of int8 rows whose table may depend on their scale; not part of what is coded here.
    """

    tables: NDArray[np.uint8]
    stream: NDArray[np.uint16]
    planes: NDArray[np.uint8] | None
    scales: NDArray[np.float32] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes in the file, without scales."""
        return int(self.tables.nbytes + self.stream.nbytes + (0 if self.planes is None else self.planes.nbytes))


def encode_packed(matrix: NDArray[Any], dtype: DType, scales: NDArray[np.float32] | None = None) -> PackedMatrix:
    """Encode a matrix. Zero means all bits zero: -0.0, NaN and subnormal numbers are kept.

    Args:
        matrix: [R, C] with at least one and at most MAX_ELEMENTS elements, in `dtype.storage`.
        dtype: Its logical type, at most 4 bytes wide.
        scales: float32 [R], of an int8 matrix with a scale for each row.
    """
    bits = bit_view(np.ascontiguousarray(matrix))
    mask = bits != 0
    positions = choose_model(mask)
    tables = bytearray()
    runs: list[Run] = []
    cost = positions.bits
    row_count, column_count = positions.probabilities.shape
    for classes, count in ((positions.row_classes, row_count), (positions.column_classes, column_count)):
        if count > 1:
            cost += _add_run(classes, tables, runs)
    tables += positions.probabilities.astype("<u2").tobytes()
    blocks = Blocks(positions.row_classes, positions.column_classes, positions.probabilities, positions.group)
    contexts = blocks.contexts if positions.probabilities.size > 1 else None
    runs.append(Run(group_model(positions.probabilities, positions.group), blocks.split(mask), contexts))
    values = _Values.of(byte_planes(bits[mask], dtype), mask, scales)
    tables += values.tables
    longest = max(*(run.symbols.size for run in runs), int(np.count_nonzero(mask)))
    lane_bits = _lane_bits((cost + values.cost) / 8, longest)
    header = _header(lane_bits, (row_count, column_count), positions.group, values.coded, values.unit)
    stream = encode([*runs, *values.runs], 1 << lane_bits)
    planes = None
    if dtype.itemsize > 1:
        planes = np.stack(values.raw) if values.raw else np.zeros((0, int(np.count_nonzero(mask))), dtype=np.uint8)
    return PackedMatrix(np.frombuffer(header + bytes(tables), dtype=np.uint8), stream, planes, scales)


@dataclass(frozen=True)
class _Values:
    """How the bytes of all values are stored.

    Attributes:
        tables: Their tables, one after the other.
        runs: The coded planes; a run for each class of rows where `unit` is given.
        raw: The planes that are stored as they are.
        coded: Bit i is 1 if plane i is coded.
        unit: Class of the scales that the only table is for; None where it serves all rows as it is.
        cost: Bits of tables and runs.
    """

    tables: bytes
    runs: list[Run]
    raw: list[NDArray[np.uint8]]
    coded: int
    unit: int | None
    cost: float

    @classmethod
    def of(
        cls, planes: list[NDArray[np.uint8]], mask: NDArray[np.bool_], scales: NDArray[np.float32] | None
    ) -> "_Values":
        """What takes fewest bytes; `scales` only beside a single plane."""
        tables, runs, raw = bytearray(), list[Run](), list[NDArray[np.uint8]]()
        coded, cost = 0, 0.0
        for index, plane in enumerate(planes):
            table, bits = _table_of(plane)
            if len(planes) == 1 or bits < 8 * plane.size:
                coded |= 1 << index
                tables += table.to_bytes()
                runs.append(Run(SymbolModel.of(table), plane))
                cost += bits
            else:
                raw.append(plane)
        plain = cls(bytes(tables), runs, raw, coded, None, cost)
        if scales is None or planes[0].size == 0:
            return plain
        scaled = cls._by_scale(planes[0], mask, scales)
        return scaled if scaled.cost < plain.cost else plain

    @classmethod
    def _by_scale(cls, plane: NDArray[np.uint8], mask: NDArray[np.bool_], scales: NDArray[np.float32]) -> "_Values":
        classes, of_value = classes_of_values(scales, mask)
        counts = np.bincount(of_value * 256 + plane, minlength=256 * classes.size).reshape(-1, 256).astype(np.int64)
        unit, table, cost = choose_unit(classes, counts)
        ordered, ends = plane[np.argsort(of_value, kind="stable")], np.cumsum(counts.sum(axis=1))
        runs = [
            Run(SymbolModel(CLASS_TABLE_BITS, frequencies[None, :]), symbols)
            for frequencies, symbols in zip(
                class_frequencies(table, unit, classes), np.split(ordered, ends[:-1]), strict=True
            )
        ]
        return cls(table.to_bytes(), runs, [], 1, unit, cost)


def classes_of_values(
    scales: NDArray[np.float32], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """The classes that rows have, rising, and of each value the place of its row's class among them."""
    classes, of_row = np.unique(row_classes(scales), return_inverse=True)
    return classes, np.repeat(of_row, np.count_nonzero(mask, axis=1))


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


def _header(lane_bits: int, classes: tuple[int, int], group: int, coded: int, unit: int | None) -> bytes:
    """The first bytes of the section; `coded` has bit i set where plane i is coded."""
    if unit is None:
        return bytes((lane_bits, *classes, group, coded))
    return bytes((lane_bits, *classes, group, coded | _BY_SCALE)) + unit.to_bytes(2, "little")
