"""The compiled decoders and the reference: the same bits and words of refusal; and a reader without the former."""

import sys

import numpy as np
import pytest
from checkpoint_models import EMBEDDING, make_model
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_decoders import bitmask, matrix
from test_checkpoint_packed import matrices, scaled_matrices

from pruneofa.checkpoint import decoding
from pruneofa.checkpoint.bitmask import BitmaskMatrix, encode_bitmask
from pruneofa.checkpoint.dtypes import DTYPES_BY_NAME
from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.checkpoint.packed.matrix import PackedMatrix, encode_packed
from pruneofa.checkpoint.reader import read_pofa
from pruneofa.checkpoint.writer import compress
from pruneofa.errors import CheckpointError, EngineError
from pruneofa.native import native_module

native = native_module()
INT8, F32 = DTYPES_BY_NAME["int8"], DTYPES_BY_NAME["float32"]


def outcome(decode):
    """The bytes that come of it, or the words of the refusal."""
    try:
        found = decode()
    except CheckpointError as error:
        return str(error)
    return [array.tobytes() for array in (found if isinstance(found, tuple) else (found,))]


def both_packed(encoded, shape, dtype):
    return [outcome(lambda m=m: m.decode_packed(encoded, shape, dtype, "x")) for m in (matrix, decoding)]


def both_bitmask(encoded):
    return [outcome(lambda m=m: m.decode_bitmask(encoded, "x")) for m in (bitmask, decoding)]


@given(matrices())
@settings(max_examples=60, deadline=None)
def test_every_matrix_is_the_same_from_both(case):
    matrix, dtype = case
    specified, compiled = both_packed(encode_packed(matrix, dtype), matrix.shape, dtype)
    assert compiled == specified == [matrix.tobytes()]
    specified, compiled = both_bitmask(encode_bitmask(matrix))
    assert compiled == specified
    assert compiled[0] == matrix.tobytes()


@pytest.mark.slow
@given(st.data(), scaled_matrices())
@settings(max_examples=150, deadline=None)
def test_tables_that_follow_scales_are_the_same_to_both(data, case):
    matrix, scales = case
    encoded = encode_packed(matrix, INT8, scales)
    specified, compiled = both_packed(encoded, matrix.shape, INT8)
    assert compiled == specified == [matrix.tobytes()]
    tables = changed(encoded.tables, data.draw(changes(encoded.tables.size)))
    if data.draw(st.booleans()):
        tables[4:5] |= 128
    stream = changed(encoded.stream, data.draw(changes(encoded.stream.size)))
    others = changed(scales, (data.draw(changes(4 * scales.size))[0], scales.size))
    specified, compiled = both_packed(PackedMatrix(tables, stream, None, others), matrix.shape, INT8)
    assert compiled == specified


@st.composite
def changes(draw, size):
    """Where and how the bytes of an array of so many are changed, and how many of them stay."""
    places = draw(st.lists(st.tuples(st.integers(0, max(size - 1, 0)), st.integers(0, 255)), max_size=4))
    return places, draw(st.sampled_from([size, size, size, max(size - 1, 0), size // 2, 0, size + 1]))


def changed(array, change):
    places, length = change
    content = np.frombuffer(array.tobytes(), np.uint8).copy()
    for at, value in places:
        if content.size:
            content[at % content.size] = value
    content = np.resize(content if content.size else np.zeros(1, np.uint8), length * array.itemsize)
    return content.view(array.dtype)


@pytest.mark.slow
@given(st.data(), matrices())
@settings(max_examples=150, deadline=None)
def test_damaged_packed_matrices_are_judged_alike(data, case):
    matrix, dtype = case
    encoded = encode_packed(matrix, dtype)
    planes = encoded.planes
    if planes is not None and data.draw(st.booleans()):
        planes = np.zeros((planes.shape[0], planes.shape[1] + 1), np.uint8)
    tables = changed(encoded.tables, data.draw(changes(encoded.tables.size)))
    stream = changed(encoded.stream, data.draw(changes(encoded.stream.size)))
    rows, columns = matrix.shape
    shape = data.draw(st.sampled_from([matrix.shape, matrix.shape, (columns, rows), (rows + 1, columns)]))
    specified, compiled = both_packed(PackedMatrix(tables, stream, planes), shape, dtype)
    assert compiled == specified


@pytest.mark.parametrize("place", range(40))
def test_each_number_of_the_tables_is_checked_as_the_reference_does(place):
    rng = np.random.default_rng(0)
    # Rows and columns of unlike density, so that tables of classes are there too.
    share = np.where(np.arange(40) % 2, 0.9, 0.02)[:, None] * np.where(np.arange(48) % 2, 1.0, 0.1)
    matrix = np.where(rng.random((40, 48)) < share, rng.integers(1, 5, size=(40, 48)), 0).astype(np.int8)
    encoded = encode_packed(matrix, INT8)
    assert min(encoded.tables[1:3]) > 1
    at = place % encoded.tables.size
    for value in (0, 1, 4, 7, 8, 16, 17, 127, 128, 255):
        specified, compiled = both_packed(
            PackedMatrix(changed(encoded.tables, ([(at, value)], encoded.tables.size)), encoded.stream, None),
            matrix.shape,
            INT8,
        )
        assert compiled == specified


@given(st.data(), matrices())
@settings(max_examples=100, deadline=None)
def test_damaged_bit_masks_are_judged_alike(data, case):
    encoded = encode_bitmask(case[0])
    mask = changed(encoded.bitmask, (data.draw(changes(encoded.bitmask.size))[0], encoded.bitmask.size))
    offsets = encoded.row_offsets.copy()
    if data.draw(st.booleans()):
        offsets[-1] += data.draw(st.sampled_from([1, -1, 2**62, -(2**62)]))
    elements = changed(encoded.compressed, data.draw(changes(encoded.compressed.size)))
    specified, compiled = both_bitmask(
        BitmaskMatrix(encoded.shape, elements, mask.reshape(encoded.bitmask.shape), offsets)
    )
    assert compiled == specified


@pytest.mark.parametrize("form", ["bitmask", "packed"])
def test_without_the_compiled_part_reading_says_so_and_a_folder_is_inspected(tmp_path, monkeypatch, form):
    folder = make_model(tmp_path / "model", int8=True)
    compress(folder, tmp_path / "m.pofa", form=form)
    found = inspect_model(folder)
    monkeypatch.setitem(sys.modules, "pruneofa._native", None)
    with pytest.raises(EngineError, match=r"compiled part cannot be loaded .*compiler"):
        inspect_model(tmp_path / "m.pofa")
    assert EMBEDDING in read_pofa(tmp_path / "m.pofa").names
    assert inspect_model(folder) == found


@pytest.mark.parametrize(
    "change",
    [
        {"tables": np.zeros(9, np.int8)},
        {"stream": np.zeros(9, np.uint8)},
        {"stream": np.zeros((3, 3), np.uint16)},
        {"planes": np.zeros(3, np.uint8)},
        {"scales": np.ones(4, np.float32)},
        {"scales": np.ones(3, np.float64)},
        {"turn": "inside out"},
        {"dense": np.zeros((3, 3), np.float32)},
        {"dense": np.zeros((3, 6), np.uint8)[:, ::2]},
        {"dense": np.zeros((0, 3), np.uint8)},
    ],
)
def test_the_compiled_part_takes_only_what_it_announces(change):
    encoded = encode_packed(np.eye(3, dtype=np.int8), INT8)
    values = {"tables": encoded.tables, "stream": encoded.stream, "planes": None, "scales": None}
    values |= {"turn": "shift128", "dense": np.zeros((3, 3), np.uint8)}
    native.decode_packed(**values)
    with pytest.raises((TypeError, ValueError)):
        native.decode_packed(**{**values, **change})


def test_the_compiled_part_checks_the_shapes_of_a_bit_mask():
    encoded = encode_bitmask(np.eye(9, dtype=np.float32))
    values = [encoded.compressed.view(np.uint32), encoded.bitmask, encoded.row_offsets]
    for dense, counts in (((9, 17), 9), ((8, 9), 9), ((9, 9), 8)):
        with pytest.raises(ValueError, match="shapes"):
            native.decode_bitmask(*values, np.zeros(dense, np.uint32), np.zeros(counts, np.int64))
