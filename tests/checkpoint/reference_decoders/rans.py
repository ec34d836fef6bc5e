"""The decoder of interleaved rANS."""

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.packed.rans import LOWEST_STATE, MAX_STEPS, SymbolModel
from pruneofa.errors import CheckpointError

_REMEDY = "the file is damaged; copy or compress it again"


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
        slots, width = _slots(model), model.frequencies.shape[1]
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


def _slots(model: SymbolModel) -> NDArray[np.uint8]:
    """The symbol whose range holds slot v in context k, at index k * 2**bits + v."""
    symbols = np.arange(model.frequencies.shape[1], dtype=np.uint8)
    return np.repeat(np.tile(symbols, len(model.frequencies)), model.frequencies.reshape(-1))
