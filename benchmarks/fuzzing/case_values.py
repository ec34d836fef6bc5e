"""Numbers that tell: what cases for the engine are made of."""

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLOATS", "SPECIAL", "damaged", "same_bits"]

SPECIAL = (0, 1, -1, 2, 5, 63, 64, 65, 255, 2**15, 2**31 - 1, 2**31, -(2**31), 2**62, 2**63 - 1, -(2**63))
FLOATS = (0.0, -0.0, 1.0, 1e-45, 1e-38, 2.0**-61, 3e38, float("inf"), float("-inf"), float("nan"), 0.03)


def damaged(rng: random.Random, array: NDArray[Any], share: float, *, resize: bool = True) -> NDArray[Any]:
    """A copy of a vector, with some chance of changed bytes or another length."""
    content = bytearray(array.tobytes())
    size = array.itemsize
    if rng.random() < share:
        for _ in range(rng.choice((1, 1, 2, 8)) if content else 0):
            at = rng.randrange(min(len(content), rng.choice((5, 40, len(content)))))
            flipped = content[at] ^ (1 << rng.randrange(8))
            content[at] = rng.choice((flipped, 0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        if resize and rng.random() < 0.2:
            del content[size * rng.randrange(len(content) // size + 1) :]
        if resize and rng.random() < 0.1:
            content += rng.randbytes(size * rng.choice((1, 2, 300)))
    return np.frombuffer(bytes(content), array.dtype)


def same_bits(found: list[NDArray[Any]], expected: list[NDArray[Any]], what: str) -> None:
    """Raise AssertionError, saying `what`, unless both hold the same."""
    assert len(found) == len(expected), what
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape, what
        assert one.tobytes() == other.tobytes(), what
