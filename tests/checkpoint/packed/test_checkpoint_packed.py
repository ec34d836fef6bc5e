"""The packed form: every matrix comes back bit for bit, and random masks take what entropy allows."""

import numpy as np
import pytest
from checkpoint_models import contents, make_model, pack
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_decoders.matrix import from_byte_planes
from reference_decoders.rans import Decoder
from reference_decoders.tables import read_table

from pruneofa.checkpoint import encoding
from pruneofa.checkpoint.decoding import decode_packed
from pruneofa.checkpoint.decompress import decompress
from pruneofa.checkpoint.dtypes import DTYPES_BY_NAME
from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.checkpoint.packed.entropy import entropy_bits, position_bits, value_bits
from pruneofa.checkpoint.packed.frequencies import FrequencyTable, choose_table, normalised
from pruneofa.checkpoint.packed.matrix import encode_packed
from pruneofa.checkpoint.packed.planes import byte_planes
from pruneofa.checkpoint.packed.positions import choose_model, group_frequencies
from pruneofa.checkpoint.packed.rans import Run, SymbolModel, encode
from pruneofa.checkpoint.packed.scale_classes import class_frequencies
from pruneofa.checkpoint.reader import read_pofa
from pruneofa.checkpoint.writer import compress

INT8, F32 = DTYPES_BY_NAME["int8"], DTYPES_BY_NAME["float32"]
NARROW = [name for name, dtype in DTYPES_BY_NAME.items() if dtype.itemsize <= 4]


def gaussian_int8(shape, sparsity, seed, *, per_channel):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=shape)
    weight[rng.random(shape) < sparsity] = 0
    absmax = np.abs(weight).max(axis=1, keepdims=True) if per_channel else np.abs(weight).max()
    return np.rint(weight / (np.maximum(absmax, 1e-9) / 127)).astype(np.int8)


def pruned_int8(shape, sparsity, seed):
    """(q, absmax scales of the rows) of Gaussian weights of which the smallest are pruned."""
    weight = np.random.default_rng(seed).normal(scale=0.04, size=shape).astype(np.float32)
    weight[np.abs(weight) < np.quantile(np.abs(weight), sparsity)] = 0
    scales = (np.abs(weight).max(axis=1) / np.float32(127)).astype(np.float32)
    return np.rint(weight / scales[:, None]).astype(np.int8), scales


def round_trip(matrix, dtype, scales=None):
    encoded = encode_packed(matrix, dtype, scales)
    decoded = decode_packed(encoded, matrix.shape, dtype, "x")
    assert decoded.dtype == dtype.storage
    assert decoded.tobytes() == np.ascontiguousarray(matrix).tobytes()
    return encoded


@st.composite
def matrices(draw):
    """Bits of any narrow type; rows and columns of skewed density; none, few, one or all values possible."""
    dtype = DTYPES_BY_NAME[draw(st.sampled_from(NARROW))]
    shape = draw(st.sampled_from([(1, 1), (1, 37), (37, 1), (7, 9), (16, 33), (40, 50), (3, 200)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    top = np.iinfo(f"u{dtype.itemsize}").max
    kind = draw(st.sampled_from(["any", "one", "few", "extremes"]))
    values = {
        "any": rng.integers(0, top, size=shape, endpoint=True),
        "one": np.full(shape, rng.integers(1, top, endpoint=True)),
        "few": rng.integers(1, 4, size=shape),
        "extremes": rng.choice(np.array([1, top, (top >> 1) + 1], dtype=np.uint64), size=shape),
    }[kind].astype(f"<u{dtype.itemsize}")
    density = draw(st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.97, 1.0]))
    skew = draw(st.sampled_from([0.0, 1.0, 4.0]))
    weights = np.exp(skew * rng.normal(size=(shape[0], 1))) * np.exp(skew * rng.normal(size=(1, shape[1])))
    kept = rng.random(shape) < density * weights if density < 1 else np.ones(shape, bool)
    if draw(st.booleans()):
        kept[:: draw(st.integers(1, 3))] = False  # empty rows
    return np.where(kept, values, 0).astype(values.dtype).view(dtype.storage), dtype


@st.composite
def scaled_matrices(draw):
    """(q, scales of the rows): levels of weights in one distribution, their scales alike or far apart."""
    shape = draw(st.sampled_from([(1, 1), (1, 300), (30, 1), (24, 40), (64, 50)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([0.0, 0.3, 2.0, 30.0]))
    middle = draw(st.sampled_from([0.02, 1e-44, 1e38]))
    with np.errstate(over="ignore"):
        scales = (middle * np.exp(spread * rng.normal(size=shape[0]))).astype(np.float32)
    scales = np.clip(scales, np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max)
    with np.errstate(over="ignore"):
        levels = rng.normal(size=shape) * 30 * middle / scales.astype(np.float64)[:, None]
    kept = rng.random(shape) < draw(st.sampled_from([0.02, 0.3, 1.0]))
    return np.where(kept, np.clip(np.rint(levels), -128, 127), 0).astype(np.int8), scales


@given(matrices())
@settings(max_examples=60, deadline=None)
def test_every_matrix_comes_back_bit_for_bit(case):
    round_trip(*case)


@pytest.mark.slow
@given(scaled_matrices())
@settings(max_examples=60, deadline=None)
def test_every_matrix_with_scales_comes_back_and_takes_no_more_for_them(case):
    matrix, scales = case
    assert round_trip(matrix, INT8, scales).nbytes <= round_trip(matrix, INT8).nbytes + 8


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("shape", [(129, 65), (64, 256)])
def test_int8_of_every_density_comes_back(shape, sparsity):
    round_trip(gaussian_int8(shape, sparsity * 0.9999, 1, per_channel=False), INT8)
    round_trip(np.zeros(shape, np.int8), INT8)


def test_columns_and_rows_of_their_own_density_pay():
    rng = np.random.default_rng(0)
    odds = np.exp(rng.normal(size=(768, 1)) * 1.2 + rng.normal(size=(1, 384)) * 1.2 - 2.5)
    q = np.where(rng.random((768, 384)) < odds / (1 + odds), rng.integers(1, 5, size=(768, 384)), 0).astype(np.int8)
    encoded = round_trip(q, INT8)
    assert encoded.tables[1] > 1
    assert encoded.tables[2] > 1
    assert 8 * encoded.nbytes < 0.93 * entropy_bits(q, INT8)
    plain = round_trip(gaussian_int8((768, 384), 0.85, 0, per_channel=True), INT8)
    assert plain.tables[1:3].tolist() == [1, 1]


@pytest.mark.parametrize("sparsity", [0.8, 0.85, 0.9, 0.95])
@pytest.mark.parametrize("per_channel", [False, True])
def test_random_masks_take_at_most_two_percent_above_entropy(sparsity, per_channel):
    for seed, shape in enumerate([(1536, 384), (384, 1536), (768, 768)]):
        q = gaussian_int8(shape, sparsity, seed, per_channel=per_channel)
        encoded = encode_packed(q, INT8)
        np.testing.assert_array_equal(decode_packed(encoded, shape, INT8, "x"), q)
        counts = np.unique_counts(q[q != 0]).counts
        nonzero = int(counts.sum())
        bound = q.size * binary_entropy(nonzero / q.size) - float(np.sum(counts * np.log2(counts / nonzero)))
        assert entropy_bits(q, INT8) == pytest.approx(bound)
        assert bound < 8 * encoded.nbytes <= 1.02 * bound


@pytest.mark.parametrize("sparsity", [0.85, 0.9, 0.95])
def test_rows_of_like_scale_take_at_most_two_percent_above_their_entropy(sparsity):
    for seed, shape in enumerate([(1536, 384), (384, 1536), (768, 768)]):
        q, scales = pruned_int8(shape, sparsity, seed)
        encoded = round_trip(q, INT8, scales)
        bound = entropy_bits(q, INT8, scales)
        assert bound < 8 * encoded.nbytes <= 1.02 * bound
        assert bound < 0.99 * entropy_bits(q, INT8)
        assert entropy_bits(q, INT8, scales[:1]) == entropy_bits(q, INT8)


def test_the_table_of_a_class_is_the_stored_one_stretched():
    counts = np.zeros(256, np.int64)
    counts[[118, 126, 127, 129, 130, 138]] = (8, 16, 8, 8, 16, 8)
    table, unit = FrequencyTable(8, 4 * counts), 16 * 120 + 5
    same, half, twice, least, most = class_frequencies(table, unit, unit + np.array([0, -16, 16, -unit, 4079 - unit]))
    np.testing.assert_array_equal(same, 1 + 65280 * table.frequencies // 256)
    # Half the scale: a level of the table covers two levels and halves of their neighbours.
    shares = {2 * level - 128: counts[level] for level in range(256)}
    expected = [
        2 * shares.get(s, 0) + shares.get(s - 1, 0) + shares.get(s + 1, 0) if 0 < s < 255 else 0 for s in range(256)
    ]
    expected[128] = 0
    np.testing.assert_array_equal(half, 1 + 65280 * np.array(expected) // sum(expected))
    # Twice the scale: a level covers one of the table and half of its neighbours; the middle one is never coded.
    assert twice.argmax() in (127, 129)
    assert twice[128] == 1
    for frequencies in (same, half, twice, least, most):
        assert frequencies.sum() == 65536
        assert frequencies.min() >= 1


def binary_entropy(p):
    return -p * np.log2(p) - (1 - p) * np.log2(1 - p)


def test_floats_lose_their_exponents_entropy():
    rng = np.random.default_rng(0)
    weight = np.where(rng.random((256, 384)) < 0.1, rng.normal(size=(256, 384)), 0).astype(np.float32)
    encoded = round_trip(weight, F32)
    assert encoded.tables[4] == 1  # exponents are coded, the rest is noise
    assert 8 * encoded.nbytes <= 1.02 * (position_bits(weight.size, int(np.count_nonzero(weight))) + 27 * 9900)
    halves = round_trip(weight.astype(np.float16).astype(np.float32), F32)
    assert halves.nbytes < 0.6 * encoded.nbytes  # low mantissa bytes without content cost nothing


def test_a_large_dense_matrix_has_no_mask():
    dense = np.random.default_rng(0).normal(size=(300, 100)).astype(np.float32)
    encoded = round_trip(dense, F32)
    assert encoded.nbytes < 0.9 * dense.nbytes


@pytest.mark.parametrize("name", NARROW)
def test_planes_hold_all_bits(name):
    dtype = DTYPES_BY_NAME[name]
    bits = np.random.default_rng(0).integers(0, 2 ** (8 * dtype.itemsize), size=500).astype(f"<u{dtype.itemsize}")
    planes = byte_planes(bits, dtype)
    assert len(planes) == dtype.itemsize
    np.testing.assert_array_equal(from_byte_planes(planes, dtype), bits)


@given(st.lists(st.sampled_from([0, 0, 1, 2, 7, 100, 10**6]), min_size=256, max_size=256), st.integers(8, 16))
@settings(max_examples=60, deadline=None)
def test_normalised_frequencies_add_up_and_leave_no_symbol_out(counts, bits):
    counts = np.array(counts, dtype=np.int64)
    counts[17] += 1
    frequencies = normalised(counts, bits)
    assert frequencies.sum() == 2**bits
    np.testing.assert_array_equal(frequencies > 0, counts > 0)
    table = FrequencyTable(bits, frequencies)
    read, end = read_table(b"ab" + table.to_bytes() + b"c", 2, 256, "x")
    assert end == 2 + len(table.to_bytes())
    assert read.bits == bits
    np.testing.assert_array_equal(read.frequencies, frequencies)


def test_normalising_breaks_ties_by_the_lowest_symbol():
    def of(*counts):
        return normalised(np.array([*counts, *[0] * (256 - len(counts))], dtype=np.int64), 8)[: len(counts)].tolist()

    assert of(1, 1, 1) == [86, 85, 85]
    assert of(5) == [256]
    assert of(1, 10**9) == [1, 255]
    # 200 rare symbols and two common ones: the rare keep 1 each, the common pay for it in turn.
    assert of(*[1] * 200, 10**6, 10**6)[198:] == [1, 1, 28, 28]
    assert choose_table(np.eye(1, 256, 3, dtype=np.int64)[0] * 99)[0].bits == 8


def test_group_frequencies_are_whole_and_complete_for_every_probability():
    for group in (4, 8):
        table = group_frequencies(np.arange(1, 65535, dtype=np.uint16), group)
        assert table.shape == (65534, 2**group)
        assert table.min() >= 1
        assert (table.sum(axis=1) == 65536).all()
    assert group_frequencies(np.array([6554], np.uint16), 4)[0].tolist() == [
        *(43010, 4777, 4777, 530, 4777, 530, 530, 58, 4777, 530, 530, 58, 530, 58, 58, 6)
    ]


@given(
    st.integers(0, 2**32),
    st.integers(0, 5),
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 256)), min_size=1, max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_interleaved_runs_come_back_in_their_order(seed, lane_bits, shapes):
    rng = np.random.default_rng(seed)
    runs = []
    for count, symbols in shapes:
        values = rng.integers(0, symbols, size=count).astype(np.uint8)
        counts = np.bincount(values, minlength=256).astype(np.int64)
        counts[0] += 1
        runs.append(Run(SymbolModel.of(choose_table(counts)[0]), values))
    stream = encode(runs, 1 << lane_bits)
    decoder = Decoder(stream, 1 << lane_bits, "x")
    for run in runs:
        np.testing.assert_array_equal(decoder.decode(run.model, run.symbols.size), run.symbols)
    decoder.finish()


def test_coding_costs_what_the_frequencies_say():
    rng = np.random.default_rng(0)
    symbols = np.minimum(rng.geometric(0.05, size=200_000) - 1, 255).astype(np.uint8)
    table, cost = choose_table(np.bincount(symbols, minlength=256).astype(np.int64))
    assert cost - 8 * len(table.to_bytes()) <= 1.001 * value_bits(symbols)
    stream = encode([Run(SymbolModel.of(table), symbols)], 64)
    assert 16 * stream.size <= 1.001 * cost + 64 * 32


def test_the_mask_of_every_share_has_its_probability():
    for share in (0.001, 0.1, 0.9):
        mask = np.random.default_rng(0).random((400, 300)) < share
        model = choose_model(mask)
        assert model.probabilities.tolist() == [[round(65536 * mask.mean())]]
        assert model.bits <= 1.02 * position_bits(mask.size, int(mask.sum()))


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_folder_comes_back_byte_for_byte(tmp_path, int8, per_channel):
    model = make_model(tmp_path / "model", int8=int8, per_channel=per_channel)
    summary = compress(model, tmp_path / "out.pofa", form="packed")
    decompress(tmp_path / "out.pofa", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(model)
    assert read_pofa(tmp_path / "out.pofa").form == "packed"
    assert summary.packed + summary.packed_int8 + summary.bitmask + summary.bitmask_int8 + summary.dense == 6
    compress(model, tmp_path / "again.pofa", form="packed")
    assert (tmp_path / "again.pofa").read_bytes() == (tmp_path / "out.pofa").read_bytes()


def sparse_model(folder, shape=(192, 256), per_channel=True):
    """A folder whose one named weight is int8 and 90 % sparse, beside an embedding and a tiny matrix."""
    folder.mkdir()
    q = gaussian_int8(shape, 0.9, 0, per_channel=per_channel)
    scale = np.full(shape[0] if per_channel else 1, 0.01, np.float32)
    rng = np.random.default_rng(1)
    tensors = {
        "a.weight": q.astype(np.float32) * scale[:, None],
        "embedding.weight": rng.normal(size=(100, 64)).astype(np.float32),
        "tiny.weight": rng.normal(size=(2, 2)).astype(np.float32),
    }
    as_bytes = {name: ("F32", list(tensor.shape), tensor.tobytes()) for name, tensor in tensors.items()}
    (folder / "model.safetensors").write_bytes(pack(as_bytes))
    scales = {"a.weight_scale": ("F32", list(scale.shape), scale.tobytes())}
    (folder / "quantization.safetensors").write_bytes(pack(scales))
    return q, scale


def test_each_tensor_takes_its_smallest_encoding_and_inspect_shows_the_bound(tmp_path):
    q, scale = sparse_model(tmp_path / "model")
    summary = compress(tmp_path / "model", tmp_path / "out.pofa", form="packed", encoder_weights=["a.weight"])
    read = read_pofa(tmp_path / "out.pofa")
    assert {name: read.entry(name).encoding for name in read.names} == {
        "a.weight": "packed_int8",
        "embedding.weight": "packed",
        "tiny.weight": "dense",
    }
    assert (summary.packed_int8, summary.packed, summary.dense) == (1, 1, 1)
    np.testing.assert_array_equal(read.stored_values("a.weight"), q)
    np.testing.assert_array_equal(read.tensor("a.weight"), q.astype(np.float32) * scale[:, None])
    found = inspect_model(tmp_path / "out.pofa").as_dict()
    assert found["bits"] == 8
    assert found["bytes_scales"] == 4 * 192
    assert found["entropy_bound_bytes"] == pytest.approx(entropy_bits(q, INT8) / 8)
    assert found["bytes_encoder"] == encode_packed(q, INT8).nbytes + 4 * 192
    folder = inspect_model(tmp_path / "model", encoder_weights=["a.weight"]).as_dict()
    assert folder["entropy_bound_bytes"] == found["entropy_bound_bytes"]
    compress(tmp_path / "model", tmp_path / "mask.pofa", encoder_weights=["a.weight"])
    masked = inspect_model(tmp_path / "mask.pofa").as_dict()
    assert masked["entropy_bound_bytes"] == found["entropy_bound_bytes"]
    assert found["bytes_encoder"] < 0.75 * masked["bytes_encoder"]


def test_what_is_too_large_for_the_lanes_is_not_packed(tmp_path, monkeypatch):
    sparse_model(tmp_path / "model")
    monkeypatch.setattr(encoding, "MAX_ELEMENTS", 100 * 64)
    compress(tmp_path / "model", tmp_path / "out.pofa", form="packed", encoder_weights=["a.weight"])
    read = read_pofa(tmp_path / "out.pofa")
    assert (read.entry("a.weight").encoding, read.entry("embedding.weight").encoding) == ("bitmask_int8", "packed")


def test_a_float_model_packs_and_rounds_on_request(tmp_path):
    model = make_model(tmp_path / "model")
    compress(model, tmp_path / "out.pofa", form="packed", int8=True)
    decompress(tmp_path / "out.pofa", tmp_path / "back")
    compress(tmp_path / "back", tmp_path / "again.pofa", form="packed")
    assert (tmp_path / "again.pofa").read_bytes() == (tmp_path / "out.pofa").read_bytes()


def test_all_zeros_are_stored_so_that_no_reader_takes_them_for_a_bomb(tmp_path):
    (tmp_path / "model").mkdir()
    content = pack({"a.weight": ("F32", [512, 512], bytes(4 * 512 * 512))})
    (tmp_path / "model" / "model.safetensors").write_bytes(content)
    compress(tmp_path / "model", tmp_path / "out.pofa", form="packed", encoder_weights=["a.weight"])
    assert read_pofa(tmp_path / "out.pofa").entry("a.weight").encoding == "bitmask"
    decompress(tmp_path / "out.pofa", tmp_path / "back")
    assert (tmp_path / "back" / "model.safetensors").read_bytes() == content
