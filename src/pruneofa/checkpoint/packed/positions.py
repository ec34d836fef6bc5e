"""Where the non-zeros of a matrix are, for the packed form: bits in blocks of rows and columns of like density.

Rows and columns are put into classes; each pair of classes is a block whose bits are coded with one probability, 4 or 8
bits to a symbol. A plain random mask has one class of each.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.packed.rans import SymbolModel

__all__ = [
    "ALL_ONES",
    "GROUP_SIZES",
    "MAX_CLASSES",
    "Blocks",
    "PositionModel",
    "choose_model",
    "group_frequencies",
    "group_model",
]

MAX_CLASSES = 16
GROUP_SIZES = (4, 8)
ALL_ONES = 2**16 - 1
_UNIT = 2**16
_PROBABILITY_BITS = 16


@dataclass(frozen=True)
class PositionModel:
    """What a writer chose.

    Attributes:
        group: Bits per symbol, 4 or 8.
        row_classes: uint8 [R], each below the number of rows of `probabilities`.
        column_classes: uint8 [C], each below the number of its columns.
        probabilities: uint16 [row classes, column classes]: share of ones in 1/65536. A block with 0 has no ones and no
            symbols, a block with 65535 has nothing but ones and no symbols.
        bits: What the bits of all blocks will take, estimated.
    """

    group: int
    row_classes: NDArray[np.uint8]
    column_classes: NDArray[np.uint8]
    probabilities: NDArray[np.uint16]
    bits: float


def group_frequencies(probabilities: NDArray[np.uint16], group: int) -> NDArray[np.int64]:
    """Frequencies, in 1/65536, of the symbols of `group` independent bits.

    A symbol with k ones starts from 2**32 and is multiplied k times by the probability of a one, then group - k times
    by that of a zero, and shifted down by 16 bits each time; its frequency is the result shifted down once more, but at
    least 1. What the sum then lacks of 65536 (or has too much) goes to symbol 0, or to the last one where the
    probability is above 32768.

    Args:
        probabilities: [n], each from 1 to 65534.
        group: 4 or 8.

    Returns:
        int64 [n, 2**group].
    """
    ones_of = np.unpackbits(np.arange(1 << group, dtype=np.uint8)[:, None], axis=1).sum(axis=1)
    result = _by_ones(probabilities, group)[:, ones_of]
    filler = np.where(probabilities <= _UNIT // 2, 0, (1 << group) - 1)
    result[np.arange(probabilities.size), filler] += _UNIT - result.sum(axis=1)
    return result


def group_model(probabilities: NDArray[np.uint16], group: int) -> SymbolModel:
    """The model of all blocks, a context each in row-major order; the contexts of blocks without symbols are unused."""
    flat = probabilities.reshape(-1)
    coded = (flat > 0) & (flat < ALL_ONES)
    return SymbolModel(_PROBABILITY_BITS, group_frequencies(np.where(coded, flat, _UNIT // 2), group))


def _by_ones(probabilities: NDArray[Any], group: int) -> NDArray[np.int64]:
    """[n, group + 1]: the frequency of a symbol with k ones, before the sum is made right."""
    one = probabilities.astype(np.uint64)
    columns = []
    for ones in range(group + 1):
        value = np.full(one.size, 1 << 32, dtype=np.uint64)
        for factor in [one] * ones + [_UNIT - one] * (group - ones):
            value = value * factor >> np.uint64(16)
        columns.append(np.maximum(value >> np.uint64(16), 1))
    return np.stack(columns, axis=1).astype(np.int64)


class Blocks:
    """The blocks of a mask: rows sorted by class (those of a class in their order), columns likewise.

    Args:
        row_classes: uint8 [R], each below the number of rows of `probabilities`.
        column_classes: uint8 [C], each below the number of its columns.
        probabilities: uint16 [row classes, column classes].
        group: Bits per symbol.
    """

    def __init__(
        self,
        row_classes: NDArray[np.uint8],
        column_classes: NDArray[np.uint8],
        probabilities: NDArray[np.uint16],
        group: int,
    ) -> None:
        self._group = group
        self._sorted = probabilities.shape != (1, 1)
        self._rows = np.argsort(row_classes, kind="stable")
        self._columns = np.argsort(column_classes, kind="stable")
        row_ends = np.cumsum(np.bincount(row_classes, minlength=probabilities.shape[0])).tolist()
        column_ends = np.cumsum(np.bincount(column_classes, minlength=probabilities.shape[1])).tolist()
        self._blocks = [
            (slice(top, bottom), slice(left, right), int(probabilities[i, j]))
            for i, (top, bottom) in enumerate(zip([0, *row_ends[:-1]], row_ends, strict=True))
            for j, (left, right) in enumerate(zip([0, *column_ends[:-1]], column_ends, strict=True))
        ]
        sizes = [self._symbols(rows, columns) if _is_coded(p) else 0 for rows, columns, p in self._blocks]
        self.contexts: NDArray[np.uint8] = np.repeat(np.arange(len(sizes)).astype(np.uint8), sizes)

    def split(self, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """The symbols of a mask [R, C]: block after block, each row by row and padded at its end with zeros."""
        ordered = mask[self._rows][:, self._columns] if self._sorted else mask
        parts = [np.zeros(0, dtype=np.uint8)]
        for rows, columns, probability in self._blocks:
            if not _is_coded(probability):
                continue
            bits = ordered[rows, columns].reshape(-1)
            count = self._symbols(rows, columns)
            octets = np.packbits(bits, bitorder="little")
            if self._group == 4:
                octets = np.stack([octets & 15, octets >> 4], axis=1).reshape(-1)[:count]
            parts.append(octets)
        return np.concatenate(parts)

    def _symbols(self, rows: slice, columns: slice) -> int:
        size: int = (rows.stop - rows.start) * (columns.stop - columns.start)
        return -(-size // self._group)


def choose_model(mask: NDArray[np.bool_]) -> PositionModel:
    """The numbers of classes and the group size that take fewest bits for a mask [R, C] with at least one element.

    Classes are made by rank: of K classes, the row with the r-th fewest ones belongs to class floor(r K / R).
    """
    ranks = [_ranks(np.count_nonzero(mask, axis=axis)) for axis in (1, 0)]
    fine_rows, fine_columns = (rank * MAX_CLASSES // rank.size for rank in ranks)
    ones = _block_counts(mask, fine_rows, fine_columns)
    sizes = np.outer(*(np.bincount(fine, minlength=MAX_CLASSES) for fine in (fine_rows, fine_columns)))
    best: tuple[float, int, int, int, NDArray[np.uint16], float] | None = None
    for row_count in (1, 2, 4, 8, 16):
        for column_count in (1, 2, 4, 8, 16):
            block_ones, block_sizes = (_merged(table, row_count, column_count) for table in (ones, sizes))
            probabilities = _probabilities(block_ones, block_sizes)
            tables = 16 * probabilities.size
            tables += sum(
                (rank.size * np.log2(count) + 8 * (3 + count)) if count > 1 else 0
                for rank, count in zip(ranks, (row_count, column_count), strict=True)
            )
            for group in GROUP_SIZES:
                bits = _estimate(block_ones, block_sizes, probabilities, group)
                # 8 bits to a symbol halve the work, so 4 must save a little.
                cost = tables + bits * (1.001 if group == 4 else 1.0)
                if best is None or cost < best[0]:
                    best = (cost, row_count, column_count, group, probabilities, bits)
    assert best is not None
    _, row_count, column_count, group, probabilities, bits = best
    classes = [
        (fine * count // MAX_CLASSES).astype(np.uint8)
        for fine, count in ((fine_rows, row_count), (fine_columns, column_count))
    ]
    return PositionModel(group, classes[0], classes[1], probabilities, bits)


def _is_coded(probability: int) -> bool:
    return 0 < probability < ALL_ONES


def _ranks(counts: NDArray[np.intp]) -> NDArray[np.intp]:
    ranks = np.empty(counts.size, dtype=np.intp)
    ranks[np.argsort(counts, kind="stable")] = np.arange(counts.size)
    return ranks


def _block_counts(
    mask: NDArray[np.bool_], row_classes: NDArray[np.intp], column_classes: NDArray[np.intp]
) -> NDArray[np.int64]:
    result = np.zeros((MAX_CLASSES, MAX_CLASSES), dtype=np.int64)
    for row_class in range(MAX_CLASSES):
        by_column = np.count_nonzero(mask[row_classes == row_class], axis=0)
        result[row_class] = np.bincount(column_classes, weights=by_column, minlength=MAX_CLASSES)
    return result


def _merged(table: NDArray[np.int64], rows: int, columns: int) -> NDArray[np.int64]:
    shape = (rows, MAX_CLASSES // rows, columns, MAX_CLASSES // columns)
    merged: NDArray[np.int64] = table.reshape(shape).sum(axis=(1, 3))
    return merged


def _probabilities(ones: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.uint16]:
    rounded = (2 * ones * _UNIT + sizes) // np.maximum(2 * sizes, 1)
    inside = np.clip(rounded, 1, ALL_ONES - 1)
    result = np.where(ones == 0, 0, np.where(ones == sizes, ALL_ONES, inside))
    return result.astype(np.uint16)


def _estimate(
    ones: NDArray[np.int64], sizes: NDArray[np.int64], probabilities: NDArray[np.uint16], group: int
) -> float:
    """Bits that the coded blocks take if their bits are independent."""
    coded = (probabilities > 0) & (probabilities < ALL_ONES)
    if not coded.any():
        return 0.0
    share = (ones[coded] / sizes[coded])[:, None]
    counts = np.arange(group + 1)[None, :]
    symbols_with = np.array([math.comb(group, ones) for ones in range(group + 1)])
    frequencies = group_frequencies(probabilities[coded], group)[:, (1 << np.arange(group + 1)) - 1]
    expected = symbols_with * share**counts * (1 - share) ** (group - counts)
    per_symbol = (expected * (16 - np.log2(frequencies))).sum(axis=1)
    return float((per_symbol * -(-sizes[coded] // group)).sum())
