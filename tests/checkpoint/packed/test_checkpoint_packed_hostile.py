"""Damaged and hostile packed tensors: each fault is one clear error, whatever the hashes say."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from checkpoint_models import forge, pack
from hypothesis import given, settings
from hypothesis import strategies as st
from test_checkpoint_packed import pruned_int8

from pruneofa.checkpoint.decoding import decode_packed
from pruneofa.checkpoint.decompress import decompress
from pruneofa.checkpoint.dtypes import DTYPES_BY_NAME
from pruneofa.checkpoint.packed.matrix import PackedMatrix, encode_packed
from pruneofa.checkpoint.reader import read_pofa
from pruneofa.checkpoint.writer import compress
from pruneofa.errors import CheckpointError

NAME = "a.weight"
INT8, F32 = DTYPES_BY_NAME["int8"], DTYPES_BY_NAME["float32"]
SHAPE = (48, 40)


def matrix(dtype):
    rng = np.random.default_rng(0)
    kept = rng.random(SHAPE) < np.linspace(0.02, 0.6, SHAPE[0])[:, None]
    values = rng.integers(1, 6, size=SHAPE) if dtype is INT8 else rng.normal(size=SHAPE)
    return np.where(kept, values, 0).astype(dtype.storage)


@pytest.fixture(params=[INT8, F32], ids=["int8", "float32"])
def packed(request):
    return encode_packed(matrix(request.param), request.param), request.param


def fails(encoded, dtype, text, shape=SHAPE):
    with pytest.raises(CheckpointError, match=f"file: tensor 'a'.*{text}"):
        decode_packed(encoded, shape, dtype, "file: tensor 'a'")


def changed(encoded, *, tables=None, stream=None, planes=None):
    table_bytes = bytearray(encoded.tables.tobytes())
    if tables is not None:
        table_bytes = tables(table_bytes) or table_bytes
    words = encoded.stream.copy()
    if stream is not None:
        found = stream(words)
        words = words if found is None else found
    new_planes = encoded.planes if planes is None else planes(encoded.planes)
    return PackedMatrix(np.frombuffer(bytes(table_bytes), np.uint8), words, new_planes)


def put(index, value):
    def change(array):
        array[index] = value

    return change


@pytest.mark.parametrize(
    ("tables", "text"),
    [
        (lambda t: t[:4], "packed_tables has 4 bytes, at least 5"),
        (put(0, 17), "lane bits 17, allowed is 0 to 16"),
        (put(1, 0), "row classes 0, allowed is 1 to 16"),
        (put(1, 17), "row classes 17, allowed is 1 to 16"),
        (put(2, 0), "column classes 0, allowed is 1 to 16"),
        (put(2, 255), "column classes 255, allowed is 1 to 16"),
        (put(3, 0), "bits to a symbol 0, allowed is 4 or 8"),
        (put(3, 16), "bits to a symbol 16, allowed is 4 or 8"),
        (put(4, 16), "coded planes 16, allowed is"),
        (put(5, 7), "table of row classes: has 7 bits, allowed are 8 to 16"),
        (put(5, 17), "table of row classes: has 17 bits, allowed are 8 to 16"),
        (put(6, 9), "table of row classes: names the symbol"),
        (put(7, 250), "table of row classes: names the symbol"),
        (put(8, 1), "table of row classes: frequencies add up to"),
        (lambda t: t[:-1], "the table is cut off"),
        (lambda t: t[:6], "the table is cut off after 6 bytes"),
        (lambda t: t + b"\0", "1 bytes follow the last of packed_tables"),
    ],
)
def test_impossible_tables_are_refused(packed, tables, text):
    encoded, dtype = packed
    assert encoded.tables[1] > 1
    fails(changed(encoded, tables=tables), dtype, text)


@pytest.fixture
def scaled():
    rng = np.random.default_rng(0)
    scales = (2.0 ** rng.uniform(-6, 0, size=SHAPE[0])).astype(np.float32)
    levels = np.clip(np.rint(rng.normal(size=SHAPE) / scales[:, None]), -127, 127)
    encoded = encode_packed(np.where(rng.random(SHAPE) < 0.5, levels, 0).astype(np.int8), INT8, scales)
    assert encoded.tables[4] == 129
    return encoded


@pytest.mark.parametrize(
    ("tables", "text"),
    [
        (lambda t: t[:6], "packed_tables ends at byte 6, the unit of the scales needs 7"),
        (put(6, 16), "unit of the scales 4[0-9]{3}, allowed is 0 to 4079"),
        (put(4, 128), "coded planes 0, allowed is 1 to 1"),
        (put(4, 131), "coded planes 3, allowed is 1 to 1"),
        (put(4, 1), "."),
        (lambda t: t[:-1], "the table is cut off"),
        (put(0, 17), "lane bits 17"),
    ],
)
def test_impossible_units_are_refused(scaled, tables, text):
    found = changed(scaled, tables=tables)
    fails(replace(found, scales=scaled.scales), INT8, text)


def test_a_unit_without_scales_of_rows_is_refused(scaled):
    fails(replace(scaled, scales=None), INT8, "coded planes 129, allowed is 1 to 1")


def test_other_scales_than_those_of_the_writer_give_an_error_or_a_matrix(scaled):
    for scales in (scaled.scales[::-1], np.ones(SHAPE[0], np.float32), scaled.scales):
        for change in (np.inf, -1.0, np.nan, 1e-45, 3e38):
            damaged = scales.copy()
            damaged[5] = change
            try:
                assert decode_packed(replace(scaled, scales=damaged), SHAPE, INT8, "x").shape == SHAPE
            except CheckpointError:
                continue


def one_block(plane_tables, stream, planes=None):
    """A matrix [1, 8] of int8 in one lane: header, probability 1/2, then what is given."""
    tables = bytes((0, 1, 1, 8, 1, 0, 128)) + plane_tables
    return PackedMatrix(np.frombuffer(tables, np.uint8), np.array(stream, np.uint16), planes)


SINGLE = bytes((8, 200, 0, 0x80, 2))  # a table of one symbol, 200, with the frequency 256


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (bytes((8, 200, 0, 0xFF, 1)), "plane 0: frequencies add up to 255, 256 is needed"),
        (bytes((8, 200, 0, 0x81, 2)), "plane 0: frequencies add up to 257, 256 is needed"),
        (bytes((8, 200, 0, 0)), "plane 0: frequencies add up to 0, 256 is needed"),
        (bytes((8, 200, 1, 0x80, 2, 0)), "its first or last frequency is 0"),
        (bytes((8, 200, 1, 0, 0x80, 2)), "its first or last frequency is 0"),
        (bytes((8, 200, 56)), "names the symbol 256, allowed are 0 to 255"),
        (bytes((8, 200, 0, 0x80, 0x82, 0)), "not in its shortest form"),
        (bytes((8, 200, 0, 0x80, 0x80, 0x80, 1)), "not in its shortest form or above"),
        (bytes((8, 200, 0, 0x80)), "the table is cut off"),
        (bytes((8, 200)), "the table is cut off"),
    ],
)
def test_impossible_frequencies_are_refused(table, text):
    fails(one_block(table, [0, 1]), INT8, text, (1, 8))


@pytest.mark.parametrize(
    ("table", "stream", "text"),
    [
        (SINGLE, [0], "the stream has 1 words, 2 are needed for 1 states"),
        (SINGLE, [0xFFFF, 0], "a state is below 65536"),
        (SINGLE, [5, 1], "the stream ends before its last symbol"),
        (SINGLE, [5, 1, 7], r"the stream does not end with its last symbol \(0 words are left over\)"),
        (SINGLE, [5, 1, 0, 9], r"the stream does not end with its last symbol \(1 words are left over\)"),
    ],
)
def test_streams_that_do_not_fit_their_symbols_are_refused(table, stream, text):
    # The state 65541 is slot 5: an octet of frequency 256 (probability 1/2), so the state becomes 256 + 5.
    fails(one_block(table, stream), INT8, text, (1, 8))


def test_a_zero_among_the_values_is_refused():
    """A value 72 is the symbol 200; a table that calls it 128 makes it the value 0."""
    encoded = encode_packed(np.array([[0, 0, 72, 0, 0, 0, 0, 0]], np.int8), INT8)
    assert decode_packed(encoded, (1, 8), INT8, "x").tolist() == [[0, 0, 72, 0, 0, 0, 0, 0]]
    assert encoded.tables[8] == 200
    fails(changed(encoded, tables=put(8, 128)), INT8, "holds a zero among the values", (1, 8))


def test_padding_bits_are_refused():
    """A mask of [1, 3] coded as if it were [1, 8]: bits beyond the third are set."""
    encoded = encode_packed(np.array([[1, 0, 1, 1, 0, 1, 1, 1]], np.int8), INT8)
    fails(encoded, INT8, "block 0 of the mask has padding bits set", (1, 3))


def test_words_too_many_too_few_or_exchanged(packed):
    encoded, dtype = packed
    fails(changed(encoded, stream=lambda w: w[:-1]), dtype, "the stream ends before its last symbol")
    fails(changed(encoded, stream=lambda w: w[:1]), dtype, "words, . are needed")
    fails(changed(encoded, stream=lambda w: np.append(w, w[-1])), dtype, "1 words are left over")
    fails(changed(encoded, stream=put(slice(0, 2), 0)), dtype, "a state is below 65536")
    for position in range(2, encoded.stream.size, 11):

        def flip(words, position=position):
            words[position] ^= 1

        # Some words are those of another matrix, all else is noticed: the coder is one to one.
        try:
            found = decode_packed(changed(encoded, stream=flip), SHAPE, dtype, "x")
        except CheckpointError:
            continue
        assert found.tobytes() != matrix(dtype).tobytes()


def test_planes_that_do_not_fit_are_refused():
    encoded = encode_packed(matrix(F32), F32)
    assert encoded.planes.shape[0] > 0
    fails(changed(encoded, planes=lambda p: p[:, :-1].copy()), F32, "section packed_planes has shape")
    fails(changed(encoded, planes=lambda p: p[:-1]), F32, "section packed_planes has shape")
    whole = encode_packed(matrix(INT8), INT8)
    fails(changed(whole, tables=put(4, 0)), INT8, "coded planes 0, allowed is 1 to 1")


@given(st.binary(max_size=60), st.lists(st.integers(0, 2**16 - 1), max_size=40), st.booleans())
@settings(max_examples=200, deadline=None)
def test_random_bytes_give_an_error_or_a_matrix(tables, words, headed):
    header = bytes((0, 1, 1, 8, 1)) if headed else b""
    encoded = PackedMatrix(np.frombuffer(header + tables, np.uint8), np.array(words, np.uint16), None)
    try:
        decoded = decode_packed(encoded, (5, 9), INT8, "x")
    except CheckpointError:
        return
    assert decoded.shape == (5, 9)


def test_every_changed_table_byte_gives_an_error_or_a_matrix(packed):
    encoded, dtype = packed
    errors = 0
    for place in range(encoded.tables.size):
        for bits in (1, 1 << place % 7 + 1):

            def flip(tables, place=place, bits=bits):
                tables[place] ^= bits

            try:
                decoded = decode_packed(changed(encoded, tables=flip), SHAPE, dtype, "x")
            except CheckpointError:
                errors += 1
            else:
                assert decoded.shape == SHAPE
    assert errors > encoded.tables.size


def model_file(folder, shape=SHAPE):
    (folder / "model").mkdir()
    rng = np.random.default_rng(0)
    weight = np.where(rng.random(shape) < 0.1, rng.integers(1, 9, size=shape), 0).astype(np.float32)
    content = pack({NAME: ("F32", list(shape), weight.tobytes())})
    (folder / "model" / "model.safetensors").write_bytes(content)
    (folder / "model" / "quantization.safetensors").write_bytes(
        pack({f"{NAME}_scale": ("F32", [1], np.ones(1, np.float32).tobytes())})
    )
    compress(folder / "model", folder / "out.pofa", form="packed", encoder_weights=[NAME])
    return folder / "out.pofa"


def entry(**change):
    return lambda m: m["tensors"][NAME].update(change)


def replaced(section, code, shape, content):
    return lambda s: s.update({f"{NAME}.{section}": (code, shape, content)})


@pytest.mark.parametrize(
    ("manifest", "sections", "metadata", "text"),
    [
        (None, None, lambda t: t.update(format_version="1"), "form is 'packed' in a file of format_version '1'"),
        (lambda m: m.update(form="bitmask"), None, None, "encoding is 'packed_int8', allowed is one of dense, dense_"),
        (
            lambda m: m.update(form="bitmask"),
            None,
            lambda t: t.update(format_version="2"),
            "form is 'bitmask' in a file of format_version '2', '1' or '3' is needed",
        ),
        (entry(shape=[48, 0]), None, None, "allowed are matrices with elements"),
        (entry(shape=[48]), None, None, "allowed are matrices"),
        (entry(dtype="float64"), None, None, "packed_int8 with dtype float64"),
        (entry(encoding="packed", dtype="int64"), None, None, "packed with dtype int64 .*up to 4 bytes"),
        (entry(encoding="packed"), None, None, "is missing"),
        (entry(encoding="bitmask_int8"), None, None, "is missing"),
        (
            entry(shape=[2**15, 2**15]),
            None,
            None,
            "packs 1073741824 elements into .* bytes, allowed are 4096 to a byte",
        ),
        (None, replaced("packed_stream", "I16", [2], bytes(4)), None, "is int16, uint16 is needed"),
        (None, replaced("packed_stream", "U16", [1, 2], bytes(4)), None, r"has shape \[1, 2\]"),
        (None, replaced("packed_tables", "U8", [0], b""), None, "packed_tables has 0 bytes"),
        (None, replaced("packed_planes", "U8", [0, 0], b""), None, "is not in the manifest"),
        (None, replaced("scale", "F32", [1], b"\0\0\xc0\x7f"), None, "not finite and above 0"),
    ],
)
def test_forged_files_are_refused(tmp_path, manifest, sections, metadata, text):
    path = forge(model_file(tmp_path), manifest, sections, metadata)
    with pytest.raises(CheckpointError, match=text) as caught:
        read_pofa(path).verify()
    assert str(path) in str(caught.value)
    with pytest.raises(CheckpointError, match=text):
        decompress(path, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def scaled_file(folder):
    """A file whose table follows the scales of its rows."""
    (folder / "model").mkdir()
    q, scales = pruned_int8((96, 64), 0.5, 0)
    scales[::2] *= np.float32(4)
    q[::2] = np.rint(q[::2] / 4)
    weight = q.astype(np.float32) * scales[:, None]
    for name, key, array in (("model", NAME, weight), ("quantization", f"{NAME}_scale", scales)):
        content = pack({key: ("F32", list(array.shape), array.tobytes())})
        (folder / "model" / f"{name}.safetensors").write_bytes(content)
    compress(folder / "model", folder / "out.pofa", form="packed", encoder_weights=[NAME])
    model = read_pofa(folder / "out.pofa")
    assert model.raw(f"{NAME}.packed_tables")[4] == 129
    np.testing.assert_array_equal(model.tensor(NAME), weight)
    return folder / "out.pofa"


@pytest.mark.parametrize("scale", [b"\0\0\0\0", b"\0\0\xc0\x7f", b"\0\0\x80\xbf"])
def test_forged_scales_are_refused_before_anything_follows_from_them(tmp_path, scale):
    path = forge(scaled_file(tmp_path), sections=replaced("scale", "F32", [96], scale * 96))
    with pytest.raises(CheckpointError, match="not finite and above 0"):
        read_pofa(path).stored_values(NAME)


def test_few_lanes_can_not_keep_a_reader_busy(tmp_path):
    """4 million elements in one lane would take half a million steps; they are refused before the first one."""
    shape = [2048, 2048]
    tables = bytes((0, 1, 1, 8, 1)) + (32).to_bytes(2, "little") + SINGLE
    tables += bytes(2048)  # enough bytes for the rule on elements to a byte

    def sections(parts):
        parts[f"{NAME}.packed_tables"] = ("U8", [len(tables)], tables)

    def manifest(value):
        value["tensors"][NAME]["shape"] = shape

    path = forge(model_file(tmp_path), manifest, sections)
    with pytest.raises(CheckpointError, match="2048 bytes follow the last of packed_tables"):
        read_pofa(path).tensor(NAME)
    long = PackedMatrix(np.frombuffer(tables[:-2048], np.uint8), np.array([0, 1], np.uint16), None)
    fails(long, INT8, "has 1 lanes for 524288 symbols, allowed are 8192 symbols in a lane", (2048, 2048))


def test_a_hostile_file_takes_little_memory(tmp_path):
    path = forge(model_file(tmp_path), entry(shape=[2**15, 2**15]))
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="do not trust this file"):
        read_pofa(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


def test_every_flipped_byte_of_a_file_is_detected_or_harmless(tmp_path):
    path = model_file(tmp_path, (6, 40))
    good = path.read_bytes()
    reference = read_pofa(path).tensor(NAME).tobytes()
    start = 8 + int.from_bytes(good[:8], "little")
    assert json.loads(good[8:start])["__metadata__"]["format_version"] == "3"
    for position in [*range(0, start, 61), *range(start, len(good))]:
        damaged = bytearray(good)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            model = read_pofa(path)
            model.verify()
            found = model.tensor(NAME).tobytes()
        except CheckpointError as error:
            assert str(path) in str(error)
        else:
            assert position < start
            assert found == reference
    for length in range(start - 3, len(good), 5):
        path.write_bytes(good[:length])
        with pytest.raises(CheckpointError, match="truncated"):
            read_pofa(path)
