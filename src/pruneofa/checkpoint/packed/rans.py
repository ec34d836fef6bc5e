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
from pruneofa.errors import CheckpointError

__all__ = ["MAX_LANE_BITS", "MAX_STEPS", "Decoder", "Run", "SymbolModel", "encode"]

MAX_LANE_BITS = 16
MAX_STEPS = 2**13  # per run of symbols, so that no file can keep a reader busy with few lanes
LOWEST_STATE = 2**16
_REMEDY = "the file is damaged; copy or compress it again"


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

    @cached_property
    def slots(self) -> NDArray[np.uint8]:
        """The symbol whose range holds slot v in context k, at index k * 2**bits + v."""
        symbols = np.arange(self.frequencies.shape[1], dtype=np.uint8)
        return np.repeat(np.tile(symbols, len(self.frequencies)), self.frequencies.reshape(-1))


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


class Decoder:
    """Decodes the runs of a stream one after the other.

    Args:
        stream: uint16, as `encode` gives it.
        lanes: Number of lanes, from 1 to 2**MAX_LANE_BITS.
        where: File and tensor, for error messages.

    Raises:
        CheckpointError: The stream is too short for its states, or a state is out of range.
    """

    def __init__(self, stream: NDArray[np.uint16], lanes: int, where: str) -> None:
        self._where, self._lanes = where, lanes
        if stream.size < 2 * lanes:
            raise CheckpointError(
                f"{where}: the stream has {stream.size} words, {2 * lanes} are needed for {lanes} states; {_REMEDY}"
            )
        self._states = stream[: 2 * lanes].astype("<u2").view("<u4").astype(np.uint32)
        if np.any(self._states < LOWEST_STATE):
            raise CheckpointError(f"{where}: a state is below {LOWEST_STATE}; {_REMEDY}")
        self._words = stream[2 * lanes :].astype(np.uint32)
        self._position = 0

    def check_length(self, count: int) -> None:
        """Check that `count` symbols are not too many for the lanes.

        Raises:
            CheckpointError: They are.
        """
        if count > self._lanes * MAX_STEPS:
            raise CheckpointError(
                f"{self._where}: has {self._lanes} lanes for {count} symbols, allowed are {MAX_STEPS} symbols in a "
                "lane; do not trust this file"
            )

    def decode(self, model: SymbolModel, count: int, contexts: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The next `count` symbols, uint8.

        Raises:
            CheckpointError: The stream ends early, or has too few lanes for so many symbols.
        """
        self.check_length(count)
        lanes = self._lanes
        frequencies, starts = model.flat
        slots, width = model.slots, model.frequencies.shape[1]
        shift, mask = np.uint32(model.bits), np.uint32((1 << model.bits) - 1)
        result = np.empty(count, dtype=np.uint8)
        for begin in range(0, count, lanes):
            state = self._states[: min(lanes, count - begin)]
            slot = state & mask
            if contexts is None:
                symbols = slots[slot]
                index = symbols
            else:
                context = contexts[begin : begin + lanes].astype(np.intp)
                symbols = slots[(context << model.bits) + slot]
                index = context * width + symbols
            result[begin : begin + lanes] = symbols
            state >>= shift
            state *= frequencies[index]
            state += slot
            state -= starts[index]
            low = np.flatnonzero(state < LOWEST_STATE)
            if low.size:
                self._refill(state, low)
        return result

    def finish(self) -> None:
        """Check that the stream ends where its symbols do.

        Raises:
            CheckpointError: Words are left over, or a state is not the one that encoding starts from.
        """
        left = self._words.size - self._position
        if left or np.any(self._states != LOWEST_STATE):
            raise CheckpointError(
                f"{self._where}: the stream does not end with its last symbol ({left} words are left over); {_REMEDY}"
            )

    def _refill(self, state: NDArray[np.uint32], low: NDArray[np.intp]) -> None:
        end = self._position + low.size
        if end > self._words.size:
            raise CheckpointError(f"{self._where}: the stream ends before its last symbol; {_REMEDY}")
        state[low] = state[low] << np.uint32(16) | self._words[self._position : end]
        self._position = end
