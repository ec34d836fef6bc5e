"""The section of tables of a packed tensor, read from its start to its end, nothing of it believed unchecked."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.packed.frequencies import MAX_BITS, MIN_BITS, FrequencyTable
from pruneofa.checkpoint.packed.positions import GROUP_SIZES, MAX_CLASSES
from pruneofa.checkpoint.packed.rans import MAX_LANE_BITS
from pruneofa.checkpoint.packed.scale_classes import MAX_UNIT
from pruneofa.errors import CheckpointError

_HEADER_BYTES = 5
_BY_SCALE = 0x80  # in the byte of the coded planes: a unit follows
_REMEDY = "the file is damaged; copy or compress it again"


@dataclass(frozen=True)
class PackedTables:
    """What the section says.

    Attributes:
        lane_bits: There are 2**lane_bits lanes.
        group: Bits of the mask in a symbol.
        unit: Class of the scales that the table of the values is for; None where it serves all rows as it is.
        classes: Tables of the classes of rows and of columns; None for one class.
        probabilities: uint16 [row classes, column classes], of a one in each block.
        planes: The table of each plane of the values, most significant first; None where it is not coded.
    """

    lane_bits: int
    group: int
    unit: int | None
    classes: tuple[FrequencyTable | None, FrequencyTable | None]
    probabilities: NDArray[np.uint16]
    planes: tuple[FrequencyTable | None, ...]


def read_tables(data: bytes, itemsize: int, *, all_coded: bool, scaled: bool, where: str) -> PackedTables:
    """Read and check the whole section.

    Args:
        data: Its bytes.
        itemsize: Bytes of a value.
        all_coded: Whether every plane must be coded, since the tensor has no section of planes.
        scaled: Whether the table of the values may be stretched by the scales of rows.
        where: File and tensor, for error messages.

    Raises:
        CheckpointError: Something is impossible, missing or left over.
    """
    reader = _Reader(data, where)
    lane_bits, rows, columns, group, coded = reader.header(itemsize, all_coded, scaled)
    unit = reader.unit() if coded & _BY_SCALE else None
    classes = [
        reader.table(count, name) if count > 1 else None
        for name, count in (("row classes", rows), ("column classes", columns))
    ]
    probabilities = reader.probabilities(rows, columns)
    planes = tuple(reader.table(256, f"plane {index}") if coded >> index & 1 else None for index in range(itemsize))
    reader.finish()
    return PackedTables(lane_bits, group, unit, (classes[0], classes[1]), probabilities, planes)


class _Reader:
    def __init__(self, data: bytes, where: str) -> None:
        self._data, self._where, self._position = data, where, 0

    def header(self, itemsize: int, all_coded: bool, scaled: bool) -> tuple[int, int, int, int, int]:
        if len(self._data) < _HEADER_BYTES:
            raise CheckpointError(
                f"{self._where}: section packed_tables has {len(self._data)} bytes, at least {_HEADER_BYTES} are "
                f"needed; {_REMEDY}"
            )
        self._position = _HEADER_BYTES
        lane_bits, rows, columns, group, coded = self._data[:_HEADER_BYTES]
        least = (1 << itemsize) - 1 if all_coded else 0
        planes = coded & ~_BY_SCALE if scaled else coded
        for name, value, fits, allowed in (
            ("lane bits", lane_bits, lane_bits <= MAX_LANE_BITS, f"0 to {MAX_LANE_BITS}"),
            ("row classes", rows, 1 <= rows <= MAX_CLASSES, f"1 to {MAX_CLASSES}"),
            ("column classes", columns, 1 <= columns <= MAX_CLASSES, f"1 to {MAX_CLASSES}"),
            ("bits to a symbol", group, group in GROUP_SIZES, " or ".join(map(str, GROUP_SIZES))),
            ("coded planes", planes, least <= planes < 1 << itemsize, f"{least} to {(1 << itemsize) - 1}"),
        ):
            if not fits:
                raise CheckpointError(
                    f"{self._where}: packed_tables says {name} {value}, allowed is {allowed}; {_REMEDY}"
                )
        return lane_bits, rows, columns, group, coded

    def unit(self) -> int:
        end = self._position + 2
        if end > len(self._data):
            raise CheckpointError(
                f"{self._where}: packed_tables ends at byte {len(self._data)}, the unit of the scales needs {end}; "
                f"{_REMEDY}"
            )
        unit = int.from_bytes(self._data[self._position : end], "little")
        if unit > MAX_UNIT:
            raise CheckpointError(
                f"{self._where}: packed_tables says unit of the scales {unit}, allowed is 0 to {MAX_UNIT}; {_REMEDY}"
            )
        self._position = end
        return unit

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


def read_table(data: bytes, position: int, symbols: int, where: str) -> tuple[FrequencyTable, int]:
    """Read and check one table.

    Args:
        data: The bytes that hold it.
        position: Where it begins.
        symbols: All its symbols must lie below.
        where: File, tensor and table, for error messages.

    Returns:
        The table, and the position after it.

    Raises:
        CheckpointError: It is cut off, names a symbol out of range, is not in its one shortest form, or its frequencies
            do not add up.
    """
    if position + 3 > len(data):
        raise CheckpointError(f"{where}: the table is cut off after {len(data)} bytes; {_REMEDY}")
    bits, first, last = data[position], data[position + 1], data[position + 1] + data[position + 2]
    position += 3
    if not MIN_BITS <= bits <= MAX_BITS:
        raise CheckpointError(f"{where}: has {bits} bits, allowed are {MIN_BITS} to {MAX_BITS}; {_REMEDY}")
    if last >= symbols:
        raise CheckpointError(f"{where}: names the symbol {last}, allowed are 0 to {symbols - 1}; {_REMEDY}")
    frequencies = np.zeros(256, dtype=np.int64)
    for symbol in range(first, last + 1):
        frequencies[symbol], position = _read_number(data, position, where)
    total = int(frequencies.sum())
    if total != 1 << bits:
        raise CheckpointError(f"{where}: frequencies add up to {total}, {1 << bits} is needed; {_REMEDY}")
    if frequencies[first] == 0 or frequencies[last] == 0:
        raise CheckpointError(f"{where}: its first or last frequency is 0, which it should leave out; {_REMEDY}")
    return FrequencyTable(bits, frequencies), position


def _read_number(data: bytes, position: int, where: str) -> tuple[int, int]:
    value = 0
    for index in range(3):  # 2**16, the largest frequency, takes three groups of 7 bits
        if position >= len(data):
            raise CheckpointError(f"{where}: the table is cut off after {len(data)} bytes; {_REMEDY}")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if byte == 0 and index:
                break
            return value, position
    raise CheckpointError(f"{where}: a frequency is not in its shortest form or above 2**16; {_REMEDY}")
