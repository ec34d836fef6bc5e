"""Token ids to compute on: the same for every contestant."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pruneofa.errors import ConfigurationError

__all__ = ["Inputs", "Shape", "make_inputs", "shapes_of"]

Inputs = dict[str, NDArray[np.int64]]
"""`input_ids`, `attention_mask` and `token_type_ids`, each int64 [batch, length]."""

_SPECIAL = 1000
"""Ids below this are special tokens, unused ones and single letters in BERT's vocabularies."""


@dataclass(frozen=True)
class Shape:
    """A batch of `batch` sequences of `length` tokens."""

    batch: int
    length: int

    def __str__(self) -> str:
        """As tables have it: "16 x 128"."""
        return f"{self.batch} x {self.length}"


def shapes_of(
    batches: Sequence[int], lengths: Sequence[int], longest: int | None, max_tokens: int | None = None
) -> list[Shape]:
    """Every batch with every length.

    Args:
        batches: Sequences of a call.
        lengths: Tokens of a sequence.
        longest: What the model takes; None for any.
        max_tokens: Shapes of more are left out.

    Raises:
        ConfigurationError: The model does not take such a length, or no shape is left.
    """
    for length in lengths:
        if longest is not None and length > longest:
            raise ConfigurationError(f"lengths: is {length}, this model takes {longest} tokens at most; give less")
    shapes = [Shape(batch, length) for batch in batches for length in lengths]
    kept = [shape for shape in shapes if max_tokens is None or shape.batch * shape.length <= max_tokens]
    if not kept:
        raise ConfigurationError(f"max_tokens: is {max_tokens}, which leaves out all of {', '.join(map(str, shapes))}")
    return kept


def make_inputs(shape: Shape, count: int, vocabulary: int, seed: int) -> list[Inputs]:
    """Batches of random tokens without padding.

    Args:
        shape: Of each.
        count: How many.
        vocabulary: Ids lie below this.
        seed: The same seed gives the same batches.
    """
    rng = np.random.default_rng([seed, shape.batch, shape.length])
    lowest = min(_SPECIAL, vocabulary // 2)
    size = (shape.batch, shape.length)
    return [
        {
            "input_ids": rng.integers(lowest, vocabulary, size, dtype=np.int64),
            "attention_mask": np.ones(size, dtype=np.int64),
            "token_type_ids": np.zeros(size, dtype=np.int64),
        }
        for _ in range(count)
    ]
