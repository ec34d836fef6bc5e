"""Rows of like scale: how one table of frequencies, stretched by the ratio of scales, serves all rows of a matrix.

Weights of one matrix lie in about one distribution, whatever scale their row was rounded with; so the levels of a row
with half the scale are spread twice as wide. The class of a row is the float's exponent and the first four bits of its
fraction, and the table of a class follows from the stored one by whole-number arithmetic alone (docs/format.md).
"""

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.packed.frequencies import FrequencyTable, choose_table

__all__ = ["CLASS_TABLE_BITS", "MAX_UNIT", "choose_unit", "class_frequencies", "row_classes"]

CLASS_TABLE_BITS = 16
MAX_UNIT = 4079  # the class of the largest finite float32
_CLASS_SHIFT = 19  # 32 bits less the sign, 8 bits of exponent and 4 of the fraction
_ZERO = 128  # the symbol of the level 0, which is never coded
_LARGEST_RATIO = 1 << 24
_SHARED = (1 << CLASS_TABLE_BITS) - 256  # what the symbols share beside the 1 that each has
_UNIT_QUANTILES = (1.0, 0.95, 0.8, 0.5)


def row_classes(scales: NDArray[np.float32]) -> NDArray[np.int64]:
    """The class of each row [R], from its scale."""
    return scales.view("<u4").astype(np.int64) >> _CLASS_SHIFT


def class_frequencies(table: FrequencyTable, unit: int, classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Frequencies, in 1/65536, of the levels of each class.

    Args:
        table: Frequencies of levels rounded with scales of the class `unit`.
        unit: From 0 to MAX_UNIT.
        classes: [K], as of `row_classes`.

    Returns:
        int64 [K, 256], each at least 1.
    """
    # Level s - 128 of a row stretches over [(2 s - 257) / 2, (2 s - 255) / 2] of its scale. In parts of 2**-17 of a
    # level of the table, counted from the table's lower end, that begins at:
    edges = (2 * np.arange(257) - 257)[None, :] * _ratios(unit, classes)[:, None] + (257 << 16)
    edges = np.clip(edges, 0, 256 << 17)
    below = np.concatenate([[0], np.cumsum(table.frequencies)])
    level = edges >> 17
    part = edges - (level << 17)
    mass = np.diff((below[level] << 17) + part * np.append(table.frequencies, 0)[level], axis=1)
    mass[:, _ZERO] = 0
    result: NDArray[np.int64] = 1 + _SHARED * mass // np.maximum(mass.sum(axis=1, keepdims=True), 1)
    result[np.arange(classes.size), result.argmax(axis=1)] += (1 << CLASS_TABLE_BITS) - result.sum(axis=1)
    return result


def choose_unit(classes: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[int, FrequencyTable, float]:
    """The unit and the table that take fewest bits, of a few that are tried, and those bits (the table's included).

    Args:
        classes: [K], rising.
        counts: int64 [K, 256], how often each symbol occurs in the rows of a class; some above 0.
    """
    many = np.cumsum(counts.sum(axis=1))
    candidates = []
    for unit in dict.fromkeys(int(classes[np.searchsorted(many, q * many[-1])]) for q in _UNIT_QUANTILES):
        table, _ = choose_table(_in_units(unit, classes, counts))
        frequencies = class_frequencies(table, unit, classes)
        bits = float((counts * (CLASS_TABLE_BITS - np.log2(frequencies))).sum())
        candidates.append((unit, table, bits + 8 * len(table.to_bytes()) + 16))
    return min(candidates, key=lambda candidate: candidate[2])


def _ratios(unit: int, classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Scale of each class over that of the unit, in 1/65536, rounded down."""
    # A class stands for the middle of its scales, (33 + 2 f) / 32 times a power of two. Beyond these shifts a ratio is
    # 0 or the largest anyway.
    shift = np.clip((classes >> 4) - (unit >> 4), -24, 9)
    ratios: NDArray[np.int64] = ((33 + 2 * (classes & 15)) << (shift + 40)) // (33 + 2 * (unit & 15)) >> 24
    return np.minimum(ratios, _LARGEST_RATIO)


def _in_units(unit: int, classes: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts [256] of all levels together, each spread over what it covers in the unit's levels."""
    edges = np.arange(257) - 128.5
    result = np.zeros(256)
    for ratio, of_class in zip(_ratios(unit, classes) / 2**16, counts, strict=True):
        below = np.concatenate([[0], np.cumsum(of_class)])
        result += np.diff(np.interp(edges, edges * max(ratio, 2.0**-16), below))
    rounded = np.rint(result).astype(np.int64)
    if not rounded.any():
        rounded[_ZERO + 1] = 1  # a table needs some symbol
    return rounded
