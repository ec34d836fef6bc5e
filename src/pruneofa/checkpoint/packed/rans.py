"""Interleaved rANS, the entropy coder of the packed form: many lanes in step, each with a state of its own.

Asymmetric numeral systems are Jarek Duda's (arXiv:1311.2540); interleaved range variants, Fabian Giesen's
(arXiv:1402.3392). States are 32 bits and take or give 16 bits at a time; all lanes share one stream of 16-bit words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.packed.frequencies import FrequencyTable

__all__ = ["LOWEST_STATE", "MAX_LANE_BITS", "MAX_STEPS", "Run", "SymbolModel", "encode"]

MAX_LANE_BITS = 16
MAX_STEPS = 2**13  # per run of symbols, so that no file can keep a reader busy with few lanes
LOWEST_STATE = 2**16


@dataclass(frozen=True)
class SymbolModel:
    """Frequencies of symbols in each of several contexts.

    Attributes:
        bits: In each context the frequencies add up to 2**bits.
        frequencies: int64 [contexts, symbols].
    """

    bits: int
    frequencies: NDArray[np.int64]

    @classmethod
    def of(cls, table: FrequencyTable) -> "SymbolModel":
        """The model of one table, with a single context."""
        return cls(table.bits, table.frequencies[None, :])

    @cached_property
    def flat(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Frequency and first slot of symbol s in context k, at index k * symbols + s."""
        frequencies = self.frequencies.astype(np.uint32)
        starts = np.cumsum(self.frequencies, axis=1) - self.frequencies
        return frequencies.reshape(-1), starts.astype(np.uint32).reshape(-1)


@dataclass(frozen=True)
class Run:
    """A run of symbols of one model.

    Attributes:
        model: Their frequencies.
        symbols: uint8 [n].
        contexts: [n] row of the model for each symbol; None where it has one row.
    """

    model: SymbolModel
    symbols: NDArray[np.uint8]
    contexts: NDArray[np.uint8] | None = None


def encode(runs: Sequence[Run], lanes: int) -> NDArray[np.uint16]:
    """The stream of `runs`, which must be decoded in the same order.

    Symbol i of a run belongs to lane i mod `lanes`. rANS decodes last in, first out, so everything runs backwards here.

    Returns:
        uint16: low and high half of each lane's state, then the words in the order in which a decoder needs them.
    """
    states = np.full(lanes, LOWEST_STATE, dtype=np.uint64)
    words: list[NDArray[np.uint16]] = []
    for run in reversed(runs):
        frequencies, starts = (array.astype(np.uint64) for array in run.model.flat)
        width, bits = run.model.frequencies.shape[1], np.uint64(run.model.bits)
        room = np.uint64(32 - run.model.bits)
        size = run.symbols.size
        for begin in range((size - 1) // lanes * lanes, -1, -lanes) if size else ():
            index = run.symbols[begin : begin + lanes].astype(np.intp)
            if run.contexts is not None:
                index += run.contexts[begin : begin + lanes].astype(np.intp) * width
            frequency = frequencies[index]
            state = states[: index.size]
            full = np.flatnonzero(state >= frequency << room)
            if full.size:
                leaving = state[full]
                words.append(leaving.astype(np.uint16))  # keeps the low 16 bits
                state[full] = leaving >> np.uint64(16)
            quotient = state // frequency
            state[:] = (quotient << bits) + (state - quotient * frequency) + starts[index]
    header = states.astype("<u4").view("<u2")
    return np.concatenate([header, *reversed(words)]).astype("<u2")
