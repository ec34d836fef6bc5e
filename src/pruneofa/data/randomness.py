"""Random numbers as a pure function of (purpose, seed, epoch, index), by numpy's counter-based Philox generator.

Nothing is carried from one draw to the next, so a resumed run, another worker count or another order of access sees the
same numbers; no global generator is read or moved.
"""

from enum import IntEnum

import numpy as np

__all__ = ["Purpose", "generator"]


class Purpose(IntEnum):
    """What the numbers are for; each purpose has streams of its own."""

    MASKING = 1
    ORDER = 2
    PACKING = 3


def generator(purpose: Purpose, seed: int, epoch: int = 0, index: int = 0) -> np.random.Generator:
    """The generator of one (purpose, seed, epoch, index), each number in [0, 2^64).

    The key is (seed, epoch); purpose and index stand in the counter's two high words, which drawing never reaches, so
    no two streams overlap.
    """
    key = np.array([seed, epoch], dtype=np.uint64)
    counter = np.array([0, 0, purpose, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
