"""The bit-mask encoding: exact for every bit pattern and shape, and no inconsistent parts are accepted."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pruneofa.checkpoint import int8
from pruneofa.checkpoint.bitmask import encode_bitmask, encoded_bytes
from pruneofa.checkpoint.decoding import decode_bitmask
from pruneofa.checkpoint.dtypes import DTYPES_BY_NAME, count_nonzero, from_float32, to_float32
from pruneofa.checkpoint.int8 import dequantize, grid_integers, quantize_per_channel
from pruneofa.errors import CheckpointError

SHAPES = st.tuples(st.integers(0, 9), st.integers(0, 19))
F32, F16, BF16 = (DTYPES_BY_NAME[name] for name in ("float32", "float16", "bfloat16"))


@st.composite
def matrices(draw):
    """Raw bits of any element type, half of the elements zero, so that NaN, -0.0 and subnormals occur."""
    dtype = draw(st.sampled_from(["<u1", "<u2", "<u4", "<u8"]))
    top = np.iinfo(dtype).max
    special = st.sampled_from([0, 0, 0, 1, (top >> 1) + 1, top])
    return draw(hnp.arrays(dtype, draw(SHAPES), elements=st.one_of(special, st.integers(0, top))))


@given(matrices())
@settings(max_examples=150, deadline=None)
def test_round_trip_of_all_bits_and_shapes(bits):
    encoded = encode_bitmask(bits)
    dense, counts = decode_bitmask(encoded, "x")
    np.testing.assert_array_equal(dense, bits)
    rows, columns = bits.shape
    assert counts.tolist() == [int(np.count_nonzero(row)) for row in bits]
    assert encoded.compressed.tolist() == [value for row in bits.tolist() for value in row if value != 0]
    assert encoded.row_offsets.tolist() == [int(counts[:row].sum()) for row in range(rows)]
    for row in range(rows):
        for column in range(columns):
            bit = encoded.bitmask[row, column // 8] >> (column % 8) & 1
            assert bit == (bits[row, column] != 0)
    stored = sum(part.nbytes for part in (encoded.compressed, encoded.bitmask, encoded.row_offsets)) + 16
    assert stored == encoded_bytes(rows, columns, int(counts.sum()), bits.dtype.itemsize)


def test_only_positive_zero_is_zero():
    values = np.array([[0.0, -0.0, np.nan, 1e-45, 1.0]], dtype=np.float32)
    encoded = encode_bitmask(values)
    assert encoded.bitmask.tolist() == [[0b11110]]
    np.testing.assert_array_equal(decode_bitmask(encoded, "x")[0].view(np.uint32), values.view(np.uint32))
    assert count_nonzero(values) == 4


def test_a_matrix_that_is_not_contiguous():
    values = np.arange(12, dtype=np.float32).reshape(3, 4).T
    np.testing.assert_array_equal(decode_bitmask(encode_bitmask(values), "x")[0], values)


@pytest.mark.parametrize(
    ("part", "change", "text"),
    [
        ("bitmask", lambda a: a | np.array([[0, 4], [0, 0]], np.uint8), "padding bits set beyond column 10"),
        ("bitmask", lambda a: a | np.array([[128, 0], [0, 0]], np.uint8), "bits set, compressed holds"),
        ("compressed", lambda a: a[:-1], "bits set, compressed holds"),
        ("compressed", lambda a: a * np.float32(0), "compressed holds a zero"),
        ("row_offsets", lambda a: a + np.array([0, 1]), r"row_offsets\[1\] is 4, the bitmask asks for 3"),
        ("row_offsets", lambda a: a - np.array([2**62, 0]), r"row_offsets\[0\]"),
    ],
)
def test_parts_that_do_not_agree_are_refused(part, change, text):
    values = np.zeros((2, 10), dtype=np.float32)
    values[0, [1, 2, 9]] = values[1, 4] = 1.5
    encoded = encode_bitmask(values)
    damaged = dataclasses.replace(encoded, **{part: change(getattr(encoded, part))})
    with pytest.raises(CheckpointError, match=f"file: tensor.*{text}"):
        decode_bitmask(damaged, "file: tensor 'a'")


@given(
    st.tuples(st.integers(0, 6), st.integers(0, 9)).flatmap(
        lambda shape: st.tuples(
            hnp.arrays(np.int8, shape),
            hnp.arrays(np.float32, st.sampled_from([shape[0], 1]), elements=st.floats(2**-30, 2**10, width=32)),
        )
    ),
    st.sampled_from([F32, F16, BF16]),
)
@settings(max_examples=150, deadline=None)
def test_the_integers_behind_a_grid_are_found(case, dtype):
    integers, scale = case
    weight = dequantize(integers, scale, dtype)
    finite = np.isfinite(to_float32(weight, dtype)).all()
    found = grid_integers(weight, scale, dtype)
    if dtype is not F16:  # half precision overflows and rounds small products to zero: then there may be none
        np.testing.assert_array_equal(found, integers)
    elif found is not None and finite:
        np.testing.assert_array_equal(dequantize(found, scale, dtype), weight)


@pytest.mark.parametrize(
    "value", [np.float32(0.015), np.float32(-0.0), np.float32(np.nan), np.float32(1.29), np.float32(np.inf)]
)
def test_a_value_off_the_grid_is_noticed(value):
    scale = np.array([0.01], dtype=np.float32)
    weight = np.array([[1, 2], [3, 4]], dtype=np.float32) * scale
    assert grid_integers(weight, scale, F32) is not None
    weight[1, 1] = value
    assert grid_integers(weight, scale, F32) is None


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_that_is_none_is_refused(scale):
    assert grid_integers(np.zeros((1, 1), np.float32), np.array([scale], np.float32), F32) is None


def test_quantization_per_channel_matches_its_definition():
    weight = np.array([[127.0, 63.5, 0.5, 1.5, -127.0], [0, 0, 0, 0, 0], [-2.0, 1.0, 0, 0, 0.001]], dtype=np.float32)
    integers, scale = quantize_per_channel(weight, F32)
    assert scale.tolist() == [1.0, 1.0, float(np.float32(2) / np.float32(127))]
    assert integers.tolist() == [[127, 64, 0, 2, -127], [0, 0, 0, 0, 0], [-127, 64, 0, 0, 0]]


def test_quantization_of_subnormal_and_nonfinite_rows():
    integers, scale = quantize_per_channel(np.full((1, 3), 1e-45, dtype=np.float32), F32)
    assert scale[0] > 0
    assert integers.tolist() == [[1, 1, 1]]
    assert quantize_per_channel(np.array([[np.inf]], np.float32), F32) is None


@given(hnp.arrays(np.float32, 20, elements=st.floats(allow_nan=False, allow_infinity=False, width=32)))
@settings(max_examples=100, deadline=None)
def test_bfloat16_rounds_to_nearest_even(values):
    bits = from_float32(values, BF16)
    low = (values.view(np.uint32) >> 16).astype(np.uint16)
    half = values.view(np.uint32) & 0xFFFF
    up = (half > 0x8000) | ((half == 0x8000) & (low & 1 == 1))
    np.testing.assert_array_equal(bits, low + up)
    exact = to_float32(low, BF16)
    np.testing.assert_array_equal(from_float32(exact, BF16), low)


@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("shape", [(7, 5), (1, 40), (0, 3), (4, 0)])
def test_parts_of_rows_give_what_the_whole_does(monkeypatch, dtype, per_channel, shape):
    rng = np.random.default_rng(0)
    integers = rng.integers(-128, 128, size=shape).astype(np.int8)
    scale = rng.uniform(1e-3, 1e3, size=shape[0] if per_channel else 1).astype(np.float32)
    expected = from_float32(integers.astype(np.float32) * scale[:, None], dtype)
    for at_once in (1, 11, 2**20):
        monkeypatch.setattr(int8, "_ELEMENTS_AT_ONCE", at_once)
        found = dequantize(integers, scale, dtype)
        assert (found.dtype, found.shape) == (expected.dtype, shape)
        assert found.tobytes() == expected.tobytes()


def test_making_a_tensor_dense_takes_little_memory_besides(monkeypatch):
    monkeypatch.setattr(int8, "_ELEMENTS_AT_ONCE", 2**12)
    integers = np.ones((2**10, 2**10), np.int8)
    tracemalloc.start()
    dequantize(integers, np.ones(1, np.float32), BF16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * 2 * integers.size
