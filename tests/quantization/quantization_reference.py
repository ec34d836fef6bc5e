"""The specification as code: what an int8 model computes, in numpy, one operation after the other.

Slow and plain on purpose; docs/quantization.md says the same in words. Kernels and exported graphs are tested against
it, and so are the fake-quantized modules. All arrays of floats are float32, levels are int64.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "activation_levels",
    "attention_products",
    "gelu_table",
    "lookup",
    "quantized_linear",
    "values_of",
    "weight_integers",
]

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

LOWEST_FLOAT32 = np.finfo(np.float32).min
_SCALAR = np.float32


def activation_levels(values: Floats, scale: float, zero_point: int) -> Integers:
    """uint8 levels of activations of any shape."""
    reciprocal = _SCALAR(1) / _SCALAR(scale)
    levels = np.rint(values.astype(np.float32) * reciprocal).astype(np.float64) + zero_point
    return np.asarray(np.clip(levels, 0, 255), dtype=np.int64)


def values_of(levels: Integers, scale: float, zero_point: int) -> Floats:
    """What levels stand for."""
    return (levels - zero_point).astype(np.float32) * _SCALAR(scale)


def weight_integers(weight: Floats, scale: Floats) -> Integers:
    """int8 levels [R, C] of a weight that lies on the grid of `scale` ([R] or [1])."""
    return np.rint(weight * (_SCALAR(1) / scale)[:, None]).astype(np.int64)


def quantized_linear(
    inputs: Floats,
    weight: Integers,
    bias: Floats | None,
    weight_scale: Floats,
    input_scale: float,
    input_zero_point: int,
) -> Floats:
    """A Linear on integers, before its output grid.

    Args:
        inputs: [..., C].
        weight: Levels [R, C].
        bias: [R], or None.
        weight_scale: [R] or [1].
        input_scale: Of the input's grid.
        input_zero_point: Of the input's grid.

    Returns:
        [..., R].
    """
    levels = activation_levels(inputs, input_scale, input_zero_point) - input_zero_point
    accumulated = levels @ weight.T
    assert np.abs(accumulated).max(initial=0) < 2**31  # what an engine's int32 holds
    outputs = accumulated.astype(np.float32) * (_SCALAR(input_scale) * weight_scale)
    return outputs if bias is None else outputs + bias


def lookup(table: Integers, scale: Floats, ids: NDArray[Any]) -> Floats:
    """Rows of an embedding table: levels [R, C], scale [R] or [1], ids [...] -> [..., C]."""
    row_scale = scale[ids] if scale.size > 1 else np.broadcast_to(scale[0], ids.shape)
    rows: Floats = table[ids].astype(np.float32) * row_scale[..., None].astype(np.float32)
    return rows


def attention_products(
    query: Integers,
    key: Integers,
    value: Integers,
    query_scale: float,
    key_scale: float,
    value_scale: float,
    addends: tuple[Floats | None, ...] = (),
) -> tuple[Floats, Integers]:
    """Attention of one layer on levels less their zero points.

    Args:
        query: [..., queries, d].
        key: [..., keys, d].
        value: [..., keys, d].
        query_scale: Of the grid of q.
        key_scale: Of the grid of k.
        value_scale: Of the grid of v.
        addends: Relative positions, then the mask: each added to the scores in this order.

    Returns:
        Context [..., queries, d], and the weights P [..., queries, keys], 0 to 255, unnormalised.
    """
    norm = _SCALAR(np.float64(_SCALAR(query_scale)) * np.float64(_SCALAR(key_scale)) / math.sqrt(query.shape[-1]))
    scores = (query @ np.swapaxes(key, -1, -2)).astype(np.float32) * norm
    for addend in addends:
        if addend is not None:
            scores = scores + addend
    differences = scores - scores.max(axis=-1, keepdims=True)
    powers = np.exp(differences.astype(np.float64)).astype(np.float32)
    weights = np.rint(_SCALAR(255) * powers).astype(np.int64)
    total = weights.sum(axis=-1, keepdims=True)
    return (weights @ value).astype(np.float32) * (_SCALAR(value_scale) / total.astype(np.float32)), weights


def gelu_table(
    output_scale: float, output_zero_point: int, input_scale: float, input_zero_point: int
) -> NDArray[np.uint8]:
    """For each level of one grid the level of GELU on the next: uint8 [256]."""
    values = values_of(np.arange(256), output_scale, output_zero_point).astype(np.float64)
    gelu = np.array([value / 2 * (1 + math.erf(value / math.sqrt(2))) for value in values], dtype=np.float32)
    return activation_levels(gelu, input_scale, input_zero_point).astype(np.uint8)
