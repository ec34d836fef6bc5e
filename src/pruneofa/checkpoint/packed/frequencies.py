"""Frequency tables of the packed form: how often each symbol occurs, in whole parts of a power of two."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_BITS", "MIN_BITS", "FrequencyTable", "choose_table", "normalised"]

MIN_BITS, MAX_BITS = 8, 16


@dataclass(frozen=True)
class FrequencyTable:
    """Frequencies of byte symbols.

    Attributes:
        bits: The frequencies add up to 2**bits.
        frequencies: int64 [256]; 0 for a symbol that does not occur.
    """

    bits: int
    frequencies: NDArray[np.int64]

    def to_bytes(self) -> bytes:
        """Bits, first symbol, number of symbols - 1, then each frequency in 7-bit groups, least significant first."""
        used = np.flatnonzero(self.frequencies)
        first, last = int(used[0]), int(used[-1])
        result = bytearray((self.bits, first, last - first))
        for value in self.frequencies[first : last + 1].tolist():
            while value >= 0x80:
                result.append(value & 0x7F | 0x80)
                value >>= 7
            result.append(value)
        return bytes(result)

    def coded_bits(self, counts: NDArray[np.int64]) -> float:
        """Bits that symbols with these counts [256] take; all of them must have a frequency."""
        used = counts > 0
        return float(np.sum(counts[used] * (self.bits - np.log2(self.frequencies[used]))))


def normalised(counts: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Frequencies that add up to 2**bits and are at least 1 where a symbol occurs.

    Each starts as max(1, floor(count * 2**bits / total)). What is missing is added one by one where count / (2 f + 1)
    is largest, what is too much is taken one by one where count / (2 f - 1) is smallest among f > 1; of equals, the
    lowest symbol. Readers do not need this rule: tables are stored.

    Args:
        counts: int64 [256], some above 0, in all below 2**47.
        bits: From MIN_BITS to MAX_BITS.
    """
    total = int(counts.sum())
    frequencies: NDArray[np.int64] = np.maximum((counts << bits) // total, (counts > 0).astype(np.int64))
    missing = (1 << bits) - int(frequencies.sum())
    for _ in range(missing):
        frequencies[np.argmax(counts / (2 * frequencies + 1))] += 1
    for _ in range(-missing):
        loss = np.where(frequencies > 1, counts / np.maximum(2 * frequencies - 1, 1), np.inf)
        frequencies[np.argmin(loss)] -= 1
    return frequencies


def choose_table(counts: NDArray[np.int64]) -> tuple[FrequencyTable, float]:
    """The table that takes fewest bits, itself and the symbols together, and those bits."""
    candidates = []
    for bits in range(MIN_BITS, MAX_BITS + 1):
        table = FrequencyTable(bits, normalised(counts, bits))
        candidates.append((table.coded_bits(counts) + 8 * len(table.to_bytes()), bits, table))
    cost, _, table = min(candidates, key=lambda candidate: candidate[:2])
    return table, cost
