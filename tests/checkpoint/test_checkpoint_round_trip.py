"""compress and decompress give every file back byte for byte; int8 is exact on a grid and explicit elsewhere."""

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkpoint_models import (
    EMBEDDING,
    OUTPUT,
    POOLER,
    QUERY,
    contents,
    make_model,
    on_grid,
    pack,
    sparse,
    unpack,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from pruneofa.checkpoint import safetensors_file
from pruneofa.checkpoint.decompress import decompress
from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.checkpoint.manifest import Manifest, read_manifest, write_manifest
from pruneofa.checkpoint.reader import read_pofa
from pruneofa.checkpoint.writer import compress
from pruneofa.errors import CheckpointError, ConfigurationError


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_folder_comes_back_byte_for_byte(tmp_path, int8, per_channel):
    model = make_model(tmp_path / "model", int8=int8, per_channel=per_channel)
    summary = compress(model, tmp_path / "out.pofa")
    decompress(tmp_path / "out.pofa", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(model)
    assert summary.bytes_written == (tmp_path / "out.pofa").stat().st_size
    assert (summary.bitmask, summary.bitmask_int8, summary.dense) == ((0, 3, 3) if int8 else (3, 0, 3))
    assert summary.quantized_here == summary.off_grid == ()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back", "model", "out.pofa"]


def test_the_reader_gives_tensors_files_and_manifest(tmp_path):
    model = make_model(tmp_path / "model", int8=True)
    compress(model, tmp_path / "out.pofa")
    read = read_pofa(tmp_path / "out.pofa")
    original = load_file(model / "model.safetensors")
    assert set(read.names) == set(original)
    for name, tensor in original.items():
        found = read.tensor(name)
        assert found.dtype == tensor.dtype
        np.testing.assert_array_equal(found, tensor)
        found[...] = 0  # a caller's own array, not a view of the file
    assert read.manifest == read_manifest(model)
    assert read.file("config.json") == (model / "config.json").read_bytes()
    assert read.raw(f"{QUERY}.compressed").dtype == np.int8
    assert read.raw(f"{QUERY}.scale").shape == (11,)
    assert read.entry(QUERY).encoding == "bitmask_int8"
    read.verify()
    for call, text in (
        (lambda: read.tensor("nothing"), "holds no tensor 'nothing'"),
        (lambda: read.raw("nothing"), "holds no section 'nothing'"),
        (lambda: read.file("nothing"), "embeds no file 'nothing'"),
    ):
        with pytest.raises(CheckpointError, match=text):
            call()


def test_any_safetensors_reader_opens_it(tmp_path):
    compress(make_model(tmp_path / "model"), tmp_path / "out.pofa")
    with safe_open(tmp_path / "out.pofa", framework="np") as file:
        assert file.metadata()["format"] == "pofa"
        assert file.get_tensor(f"{OUTPUT}.shape").tolist() == [16, 24]
        for name in file.keys():  # noqa: SIM118 (safe_open is no mapping)
            file.get_tensor(name)
    content = (tmp_path / "out.pofa").read_bytes()
    assert int.from_bytes(content[:8], "little") % 8 == 0


def test_the_same_folder_gives_the_same_bytes(tmp_path):
    model = make_model(tmp_path / "model")
    compress(model, tmp_path / "a.pofa")
    compress(model, tmp_path / "b.pofa")
    assert (tmp_path / "a.pofa").read_bytes() == (tmp_path / "b.pofa").read_bytes()


@st.composite
def raw_tensors(draw):
    code, itemsize = draw(
        st.sampled_from(
            [
                *(("F32", 4), ("F16", 2), ("BF16", 2), ("F64", 8), ("I8", 1), ("I64", 8), ("BOOL", 1), ("U16", 2)),
                *(("F8_E4M3", 1), ("F8_E5M2", 1)),
            ]
        )
    )
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=11))
    count = int(np.prod(shape, dtype=np.int64))
    fill = st.sampled_from([b"\0" * itemsize, b"\0" * (itemsize - 1) + b"\x80", b"\xff" * itemsize, b"\1" * itemsize])
    content = b"".join(draw(st.lists(fill, min_size=count, max_size=count)))
    return code, list(shape), b"\1" * len(content) if code == "BOOL" and any(content) else content


@pytest.mark.slow
@given(st.lists(raw_tensors(), min_size=1, max_size=4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_round_trip_of_all_types_and_shapes(tmp_path_factory, tensors, named):
    folder = tmp_path_factory.mktemp("case")
    (folder / "model").mkdir()
    content = pack({f"t{index}.weight": tensor for index, tensor in enumerate(tensors)}, {"format": "pt"})
    (folder / "model" / "model.safetensors").write_bytes(content)
    names = [f"t{index}.weight" for index in range(len(tensors))] if named else ["t0.weight"]
    compress(folder / "model", folder / "out.pofa", encoder_weights=names)
    decompress(folder / "out.pofa", folder / "back")
    assert (folder / "back" / "model.safetensors").read_bytes() == content
    for index, (_, shape, raw) in enumerate(tensors):
        tensor = read_pofa(folder / "out.pofa").tensor(f"t{index}.weight")
        assert (list(tensor.shape), tensor.tobytes()) == (shape, raw)


def test_only_named_or_paying_tensors_are_masked(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    tensors = {
        "named.weight": sparse((4, 8), 0.0, 1),
        "dense.weight": sparse((40, 80), 0.0, 2),
        "empty_table.weight": sparse((40, 80), 0.9, 3),
        "vector": np.zeros(50, np.float32),
    }
    save_file(tensors, model / "model.safetensors")
    compress(model, tmp_path / "out.pofa", encoder_weights=["named.weight"])
    read = read_pofa(tmp_path / "out.pofa")
    encodings = {name: read.entry(name).encoding for name in read.names}
    assert encodings == {
        "named.weight": "bitmask",
        "dense.weight": "dense",
        "empty_table.weight": "bitmask",
        "vector": "dense",
    }
    assert read.manifest.stage == "unknown"
    assert read.files == ()


def test_names_that_would_collide_are_stored_dense(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    save_file({"a": sparse((4, 80), 0.9, 1), "a.shape": np.ones(3, np.float32)}, model / "model.safetensors")
    compress(model, tmp_path / "out.pofa", encoder_weights=["a"])
    decompress(tmp_path / "out.pofa", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(model)
    (model / "config.json").write_text("{}")
    save_file({"a": sparse((4, 8), 0.9, 1), "file:config.json": np.ones(3, np.float32)}, model / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"two parts need the section name 'file:config\.json'"):
        compress(model, tmp_path / "clash.pofa", encoder_weights=["a"])
    assert not (tmp_path / "clash.pofa").exists()


def test_tied_weights_stay_two_tensors(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    table = sparse((30, 8), 0.0, 1)
    save_file(
        {"embeddings.weight": table, "decoder.weight": table.copy(), "scale": np.array(3, np.float32)},
        model / "model.safetensors",
    )
    compress(model, tmp_path / "out.pofa", encoder_weights=["decoder.weight"])
    decompress(tmp_path / "out.pofa", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(model)


def shard(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    halves = (dict(list(tensors.items())[:3]), dict(list(tensors.items())[3:]))
    for name, half in zip(names, halves, strict=True):
        save_file(half, model / name, metadata={"format": "pt"})
    weight_map = {tensor: name for name, half in zip(names, halves, strict=True) for tensor in half}
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_a_sharded_model_comes_back_as_its_shards(tmp_path):
    model = make_model(tmp_path / "model")
    figures = inspect_model(model).as_dict()
    shard(model)
    compress(model, tmp_path / "out.pofa")
    assert len(read_pofa(tmp_path / "out.pofa").weight_files) == 2
    decompress(tmp_path / "out.pofa", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(model)
    assert inspect_model(model).encoder_nonzero == figures["encoder_nonzero"]


def test_a_weight_off_its_grid_falls_back_to_float(tmp_path, caplog):
    model = make_model(tmp_path / "model", int8=True)
    tensors = load_file(model / "model.safetensors")
    tensors[QUERY][0, 0] = np.float32(0.12345)
    save_file(tensors, model / "model.safetensors")
    with caplog.at_level(logging.WARNING):
        summary = compress(model, tmp_path / "out.pofa")
    assert summary.off_grid == (QUERY,)
    assert any(QUERY in record.getMessage() and "int8 grid" in record.getMessage() for record in caplog.records)
    assert read_pofa(tmp_path / "out.pofa").entry(QUERY).encoding == "bitmask"
    assert inspect_model(tmp_path / "out.pofa").bits == 32
    decompress(tmp_path / "out.pofa", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(model)


def test_an_int8_head_outside_the_encoder_is_stored_as_int8(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    head, scale = on_grid((30, 40), 1)
    save_file({"classifier.weight": head, "a.weight": sparse((4, 8), 0.5, 1)}, model / "model.safetensors")
    save_file({"classifier.weight_scale": scale}, model / "quantization.safetensors")
    compress(model, tmp_path / "out.pofa", encoder_weights=["a.weight"])
    assert read_pofa(tmp_path / "out.pofa").entry("classifier.weight").encoding == "bitmask_int8"
    decompress(tmp_path / "out.pofa", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(model)


def test_int8_of_a_float_model_is_lossy_once(tmp_path):
    model = make_model(tmp_path / "model")
    summary = compress(model, tmp_path / "out.pofa", int8=True)
    assert summary.quantized_here == tuple(
        n for n in read_pofa(tmp_path / "out.pofa").names if n in (QUERY, OUTPUT, POOLER)
    )
    decompress(tmp_path / "out.pofa", tmp_path / "back")
    before, after = (load_file(folder / "model.safetensors") for folder in (model, tmp_path / "back"))
    scales = load_file(tmp_path / "back" / "quantization.safetensors")
    for name, tensor in before.items():
        if name not in summary.quantized_here:
            np.testing.assert_array_equal(after[name], tensor)
            continue
        scale = scales[f"{name}_scale"]
        absmax = np.abs(tensor).max(axis=1)
        np.testing.assert_array_equal(scale, np.where(absmax > 0, absmax / np.float32(127), np.float32(1)))
        np.testing.assert_array_equal(
            after[name], np.rint(tensor / scale[:, None]).astype(np.float32) * scale[:, None] + 0.0
        )
    manifest = read_manifest(tmp_path / "back")
    assert manifest.quantization == {"weight_granularity": "per_channel", "bits": 8, "activation": None}
    assert manifest.sparsity[QUERY]["zeros"] == int((after[QUERY] == 0).sum()) >= int((before[QUERY] == 0).sum())
    # What comes back lies on the grid: compressing it again loses nothing and gives the same file.
    again = compress(tmp_path / "back", tmp_path / "again.pofa")
    assert again.quantized_here == ()
    assert (tmp_path / "again.pofa").read_bytes() == (tmp_path / "out.pofa").read_bytes()


def test_int8_of_a_bfloat16_model(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    bits = (sparse((6, 10), 0.5, 1).view(np.uint32) >> 16).astype("<u2")
    (model / "model.safetensors").write_bytes(pack({"a.weight": ("BF16", [6, 10], bits.tobytes())}))
    compress(model, tmp_path / "out.pofa", int8=True, encoder_weights=["a.weight"])
    decompress(tmp_path / "out.pofa", tmp_path / "back")
    tensors, _ = unpack((tmp_path / "back" / "model.safetensors").read_bytes())
    assert tensors["a.weight"][0] == "BF16"
    summary = compress(tmp_path / "back", tmp_path / "again.pofa")
    assert (summary.bitmask_int8, summary.off_grid) == (1, ())


def test_int8_of_a_nan_is_refused(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    save_file({"a.weight": np.full((2, 2), np.nan, np.float32)}, model / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"'a.weight' holds NaN or infinity"):
        compress(model, tmp_path / "out.pofa", int8=True, encoder_weights=["a.weight"])
    compress(model, tmp_path / "out.pofa", encoder_weights=["a.weight"])


def test_zeros_lost_since_pruning_are_reported(tmp_path, caplog):
    model = make_model(tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    tensors[QUERY][:] = 1
    save_file(tensors, model / "model.safetensors")
    with caplog.at_level(logging.WARNING):
        compress(model, tmp_path / "out.pofa")
    assert f"the weight {QUERY} holds 0 zeros" in caplog.text


def test_progress_counts_up_to_the_whole(tmp_path):
    calls = []
    compress(make_model(tmp_path / "model"), tmp_path / "out.pofa", progress=lambda *call: calls.append(call))
    assert [stage for stage, _, _ in calls] == sorted(stage for stage, _, _ in calls)
    for stage in ("encode", "write"):
        done = [call[1:] for call in calls if call[0] == stage]
        assert done[-1][0] == done[-1][1]
        assert done == sorted(done)
    calls.clear()
    decompress(tmp_path / "out.pofa", tmp_path / "back", progress=lambda *call: calls.append(call))
    assert calls[-1][1] == calls[-1][2] == len(calls)


def test_the_output_inside_the_model_folder_is_not_embedded(tmp_path):
    model = make_model(tmp_path / "model")
    compress(model, model / "model.pofa")
    first = (model / "model.pofa").read_bytes()
    compress(model, model / "model.pofa")
    assert (model / "model.pofa").read_bytes() == first


@pytest.mark.parametrize(
    ("break_it", "text"),
    [
        (lambda m: (m / "model.safetensors").unlink(), "holds neither model.safetensors nor"),
        (lambda m: os.truncate(m / "model.safetensors", 5), "has 5 bytes, a safetensors file has at least 8"),
        (lambda m: os.truncate(m / "model.safetensors", 100), "only 92 follow: truncated"),
        (lambda m: os.truncate(m / "model.safetensors", (m / "model.safetensors").stat().st_size - 1), "truncated"),
        (lambda m: (m / "model.safetensors").write_bytes(b"\xff" * 64), "announces a header of"),
        (lambda m: (m / "model.safetensors").write_bytes(b"\x08" + b"\0" * 7 + b"{]      "), "header: not valid JSON"),
        (lambda m: os.truncate(m / "quantization.safetensors", 30), "quantization.safetensors"),
        (
            lambda m: save_file({f"{QUERY}_scale": np.ones(3, np.float32)}, m / "quantization.safetensors"),
            r"float32 \[3\]",
        ),
        (lambda m: save_file({f"{QUERY}_scale": np.ones(11)}, m / "quantization.safetensors"), r"float64 \[11\]"),
        (lambda m: (m / "pruneofa.json").unlink(), "has no pruneofa.json"),
        (lambda m: write_manifest(m, Manifest("a", ("x.weight",))), "pruneofa.json names the weight 'x.weight'"),
        (
            lambda m: write_manifest(m, Manifest("a", (QUERY,), (), {QUERY: {"size": 4, "zeros": 1, "target": None}})),
            "has 4 elements, the weight file 143",
        ),
        (lambda m: (m / "loop").symlink_to(m, target_is_directory=True), "is a link to a folder"),
        (lambda m: (m / "a:b").write_text(""), "holds the character ':'"),
        (lambda m: (m / "gone.txt").symlink_to(m / "nowhere"), "is no plain file"),
    ],
)
def test_each_fault_of_a_folder_is_one_clear_error(tmp_path, break_it, text):
    model = make_model(tmp_path / "model", int8=True)
    break_it(model)
    with pytest.raises(CheckpointError, match=text):
        compress(model, tmp_path / "out.pofa")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_each_fault_of_an_index_is_one_clear_error(tmp_path):
    model = make_model(tmp_path / "model")
    shard(model)
    index = model / "model.safetensors.index.json"
    good = json.loads(index.read_text())

    def fails(value: object, text: str) -> None:
        index.write_text(json.dumps(value))
        for action in (lambda: compress(model, tmp_path / "out.pofa"), lambda: inspect_model(model)):
            with pytest.raises(CheckpointError, match=text):
                action()

    fails(
        {"weight_map": good["weight_map"] | {"x": "model-00003.safetensors"}},
        "names the shard 'model-00003.safetensors'",
    )
    fails(
        {"weight_map": good["weight_map"] | {"x": "model-00001-of-00002.safetensors"}}, "does not hold the tensor 'x'"
    )
    fails({"weight_map": {k: v for k, v in good["weight_map"].items() if k != QUERY}}, f"holds the tensor '{QUERY}'")
    fails({"weight_map": {"x": "../outside.safetensors"}}, "has the part '..'")
    fails({"weight_map": {}}, "has no weight_map")
    fails([], "has no weight_map")
    index.write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        inspect_model(model)
    index.write_text(json.dumps(good))
    os.truncate(model / "model-00002-of-00002.safetensors", 40)
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002\.safetensors.*truncated"):
        compress(model, tmp_path / "out.pofa")


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "s1.safetensors")
    save_file({"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)}, tmp_path / "s2.safetensors")
    index = {"weight_map": {"a": "s1.safetensors", "b": "s2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="holds the tensor 'a'"):
        inspect_model(tmp_path, encoder_weights=["a"])


def test_wrong_arguments(tmp_path):
    model = make_model(tmp_path / "model")
    with pytest.raises(ConfigurationError, match="form is 'zip', allowed is 'bitmask' or 'packed'"):
        compress(model, tmp_path / "out.pofa", form="zip")
    with pytest.raises(CheckpointError, match="no such folder"):
        compress(tmp_path / "nothing", tmp_path / "out.pofa")
    with pytest.raises(CheckpointError, match="is a folder; give the name of the file"):
        compress(model, tmp_path)
    compress(model, tmp_path / "out.pofa")
    for target in (model, tmp_path / "out.pofa"):
        with pytest.raises(CheckpointError, match="is there already and is no empty folder"):
            decompress(tmp_path / "out.pofa", target)
    (tmp_path / "empty").mkdir()
    decompress(tmp_path / "out.pofa", tmp_path / "empty")
    assert contents(tmp_path / "empty") == contents(model)
    with pytest.raises(CheckpointError, match=r"is a folder, a \.pofa file is needed"):
        read_pofa(model)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_pofa(tmp_path / "nothing.pofa")


class FullDisk:
    """A file whose n-th write fails as on a full disk."""

    def __init__(self, file, allowed):
        self.file, self.allowed = file, allowed

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        if self.allowed == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.allowed -= 1
        return self.file.write(data)


@pytest.mark.parametrize("allowed", [0, 1, 4])
def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, allowed):
    model = make_model(tmp_path / "model")
    compress(model, tmp_path / "good.pofa")
    before = (tmp_path / "good.pofa").read_bytes()
    really_open = Path.open

    def full(self, mode="r", *args, **kwargs):
        file = really_open(self, mode, *args, **kwargs)
        return FullDisk(file, allowed) if mode in ("wb", "xb") else file

    monkeypatch.setattr(Path, "open", full)
    reason = "cannot be written .No space left on device.; free some space"
    for target in ("out.pofa", "good.pofa"):
        with pytest.raises(CheckpointError, match=f"{target}: {reason}"):
            compress(model, tmp_path / target)
    with pytest.raises(CheckpointError, match=f"back: {reason}"):
        decompress(tmp_path / "good.pofa", tmp_path / "back")
    monkeypatch.undo()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["good.pofa", "model"]
    assert (tmp_path / "good.pofa").read_bytes() == before


def test_a_file_that_changes_while_it_is_compressed_is_noticed(tmp_path, monkeypatch):
    model = make_model(tmp_path / "model")
    build = safetensors_file.build_header

    def change_then_build(sections, metadata):
        tensors = load_file(model / "model.safetensors")
        tensors[EMBEDDING] = tensors[EMBEDDING] + 1
        save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
        return build(sections, metadata)

    monkeypatch.setattr(safetensors_file, "build_header", change_then_build)
    with pytest.raises(CheckpointError, match="changed while it was compressed"):
        compress(model, tmp_path / "out.pofa")
    assert not (tmp_path / "out.pofa").exists()


def test_works_without_torch_and_pydantic():
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['pydantic'] = None; sys.modules['transformers'] = None\n"
        "import pruneofa.checkpoint.writer, pruneofa.checkpoint.decompress, pruneofa.checkpoint.inspection"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
