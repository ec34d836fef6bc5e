"""MPNet's relative position bias, spread out by distance."""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["bias_by_distance", "buckets"]

MAX_DISTANCE = 128


def buckets(distance: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The bucket of each distance `key position - query position`, as transformers' MPNet computes it.

    Args:
        distance: Any shape.
        count: Number of buckets, half for each direction.
    """
    half = count // 2
    away = np.abs(distance)
    exact = half // 2
    # float32 throughout, as there: a power of two lies on the edge of a bucket.
    with np.errstate(divide="ignore"):
        share = np.log(away.astype(np.float32) / np.float32(exact)) / np.float32(math.log(MAX_DISTANCE / exact))
    large = np.where(away < exact, 0, share * np.float32(half - exact)).astype(np.int64) + exact
    return (distance > 0) * half + np.where(away < exact, away, np.minimum(large, half - 1))


def bias_by_distance(table: NDArray[np.float32], max_tokens: int) -> NDArray[np.float32]:
    """The bias of each head by distance, [heads * (2 * max_tokens - 1)], from distance -(max_tokens - 1) on.

    Args:
        table: [buckets, heads].
        max_tokens: The longest sequence.
    """
    distances = np.arange(-(max_tokens - 1), max_tokens, dtype=np.int64)
    return np.ascontiguousarray(table[buckets(distances, table.shape[0])].T).reshape(-1)
