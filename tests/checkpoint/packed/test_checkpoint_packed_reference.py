"""A stranger's reader of the packed form, scalar, out of docs/format.md: it agrees with the package on every matrix."""

import numpy as np
import pytest
from checkpoint_models import sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from test_checkpoint_format_page import NAME, PACKED_WEIGHT, PAGE, SCALE, block, example
from test_checkpoint_packed import scaled_matrices

from pruneofa.checkpoint.dtypes import DTYPES_BY_NAME, bit_view
from pruneofa.checkpoint.packed.matrix import encode_packed
from pruneofa.checkpoint.reader import read_pofa


@pytest.fixture(scope="module")
def read_packed():
    names = {}
    exec(block(PAGE.read_text(encoding="utf-8"), "reader-packed"), names)
    return names["read_packed"]


def sections_of(encoded):
    parts = {
        "x.packed_tables": encoded.tables,
        "x.packed_stream": encoded.stream,
        "x.packed_planes": encoded.planes,
        "x.scale": encoded.scales,
    }
    return lambda key: parts[key].reshape(-1).tolist()


@given(
    st.sampled_from(["int8", "uint8", "int16", "float16", "bfloat16", "float32", "int32", "float8_e4m3", "bool"]),
    st.sampled_from([(1, 1), (1, 30), (30, 1), (9, 7), (24, 33)]),
    st.sampled_from([0.0, 0.05, 0.4, 1.0]),
    st.booleans(),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_the_pages_reader_agrees(read_packed, name, shape, density, wide, seed):
    dtype, rng = DTYPES_BY_NAME[name], np.random.default_rng(seed)
    bits = rng.integers(0, 2 ** (8 * dtype.itemsize) if wide else 3, size=shape).astype(f"<u{dtype.itemsize}")
    matrix = np.where(rng.random(shape) < density, bits, 0).astype(bits.dtype).view(dtype.storage)
    encoded = encode_packed(matrix, dtype)
    found = read_packed(sections_of(encoded), "x", *shape, dtype.itemsize, dtype.name)
    stored = matrix.view(np.int8) if name == "int8" else bit_view(matrix)
    assert found == stored.reshape(-1).tolist()


@pytest.mark.slow
@given(scaled_matrices())
@settings(max_examples=40, deadline=None)
def test_the_pages_reader_agrees_where_tables_follow_scales(read_packed, case):
    matrix, scales = case
    encoded = encode_packed(matrix, DTYPES_BY_NAME["int8"], scales)
    found = read_packed(sections_of(encoded), "x", *matrix.shape, 1, "int8")
    assert found == matrix.reshape(-1).tolist()


def test_the_pages_reader_agrees_with_many_classes_and_lanes(read_packed):
    rng = np.random.default_rng(0)
    odds = np.exp(2 * rng.normal(size=(96, 1)) + 2 * rng.normal(size=(1, 128)) - 1)
    kept = rng.random((96, 128)) < odds / (1 + odds)
    q = np.where(kept, rng.integers(-127, 128, size=kept.shape), 0).astype(np.int8)
    encoded = encode_packed(q, DTYPES_BY_NAME["int8"])
    lane_bits, row_classes, column_classes, _, _ = encoded.tables[:5].tolist()
    assert min(lane_bits, row_classes - 1, column_classes - 1) > 0
    assert read_packed(sections_of(encoded), "x", 96, 128, 1, "int8") == q.reshape(-1).tolist()


def test_the_pages_reader_reads_a_mask_mostly_of_ones(read_packed):
    weight = sparse((12, 17), 0.1, 0).astype(np.float16)
    encoded = encode_packed(weight, DTYPES_BY_NAME["float16"])
    assert int.from_bytes(encoded.tables[5:7].tobytes(), "little") > 32768
    found = read_packed(sections_of(encoded), "x", 12, 17, 2, "float16")
    assert found == weight.view(np.uint16).reshape(-1).tolist()


def test_the_pages_example_is_read(tmp_path, read_packed):
    read = read_pofa(example(tmp_path, int8=True, form="packed"))
    assert read.entry(NAME).encoding == "packed_int8"
    found = read_packed(lambda key: read.raw(key).reshape(-1).tolist(), NAME, 2, 9, 1, "int8")
    assert found == [0, 0, 3, 0, 0, 0, 0, -2, 0, *[0] * 8, 2]
    weight = np.array(found, np.float32).reshape(2, 9) * SCALE[:, None]
    assert weight.tolist() == PACKED_WEIGHT.tolist() == read.tensor(NAME).tolist()
