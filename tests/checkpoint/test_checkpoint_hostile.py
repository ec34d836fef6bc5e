"""Damaged and hostile compressed files: each is refused with an error that says what and where."""

import hashlib
import json

import numpy as np
import pytest
from checkpoint_models import OUTPUT, QUERY, contents, forge, make_model, pack, with_header
from safetensors import SafetensorError
from safetensors.numpy import save_file

from pruneofa.checkpoint import safetensors_file
from pruneofa.checkpoint.decompress import decompress
from pruneofa.checkpoint.reader import read_pofa
from pruneofa.checkpoint.safetensors_file import SafetensorsFile
from pruneofa.checkpoint.writer import compress
from pruneofa.errors import CheckpointError


@pytest.fixture
def pofa(tmp_path):
    make_model(tmp_path / "model", int8=True)
    compress(tmp_path / "model", tmp_path / "out.pofa")
    return tmp_path / "out.pofa"


def everything(path):
    """All that a reader gives out of a file."""
    model = read_pofa(path)
    model.verify()
    tensors = {
        name: (model.tensor(name).dtype.str, model.tensor(name).shape, model.tensor(name).tobytes())
        for name in model.names
    }
    return tensors, {name: model.file(name) for name in model.files}, model.weight_headers(), model.manifest.as_dict()


def small(tmp_path):
    model = tmp_path / "small"
    model.mkdir()
    weight = np.zeros((2, 9), np.float32)
    weight[0, 3], weight[1, 8] = 0.5, -0.25
    save_file({"a.weight": weight, "b": np.arange(3, dtype=np.float32)}, model / "model.safetensors")
    save_file({"a.weight_scale": np.array([0.25], np.float32)}, model / "quantization.safetensors")
    (model / "config.json").write_text("{}")
    compress(model, tmp_path / "small.pofa", encoder_weights=["a.weight"])
    return tmp_path / "small.pofa"


def test_every_flipped_byte_is_detected_or_harmless(tmp_path):
    path = small(tmp_path)
    good, reference = path.read_bytes(), everything(path)
    rng = np.random.default_rng(0)
    data_start = 8 + int.from_bytes(good[:8], "little")
    undetected_in_data = 0
    for position in range(len(good)):
        damaged = bytearray(good)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = everything(path)
        except CheckpointError as error:
            assert str(path) in str(error)
        else:
            assert found == reference, f"byte {position}"
            undetected_in_data += position >= data_start
    assert undetected_in_data == 0


def test_every_truncation_is_detected(tmp_path):
    path = small(tmp_path)
    good = path.read_bytes()
    data_start = 8 + int.from_bytes(good[:8], "little")
    for length in {*range(0, len(good), 13), *range(12), *range(data_start - 2, len(good))}:
        path.write_bytes(good[:length])
        with pytest.raises(CheckpointError, match="truncated"):
            read_pofa(path)
    path.write_bytes(good + b"\0")
    with pytest.raises(CheckpointError, match="something follows the data"):
        read_pofa(path)


def replace(name, code=None, shape=None, content=None):
    def change(sections):
        old = sections[name]
        sections[name] = (code or old[0], old[1] if shape is None else shape, old[2] if content is None else content)

    return change


def edit(name, dtype, change):
    def apply(sections):
        code, shape, content = sections[name]
        array = np.frombuffer(content, dtype).copy()
        change(array)
        sections[name] = (code, shape, array.tobytes())

    return apply


def put(index, value):
    def change(array):
        array[index] = value

    return change


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        (lambda s: s.pop(f"{QUERY}.bitmask"), f"section '{QUERY}.bitmask' is missing"),
        (lambda s: s.update(extra=("U8", [1], b"x")), "section 'extra' is not in the manifest"),
        (replace(f"{QUERY}.compressed", code="U8"), "is uint8, int8 is needed"),
        (replace(f"{QUERY}.bitmask", shape=[2, 11]), r"has shape \[2, 11\], \[11, 2\] is needed"),
        (replace(f"{QUERY}.scale", shape=[2], content=b"\0" * 8), r"has shape \[2\], \[1\] or \[11\] is needed"),
        (replace("file:config.json", shape=[1, 23]), r"has shape \[1, 23\], \['any'\] is needed"),
        (edit(f"{QUERY}.shape", "<i8", put(0, 12)), r"section shape holds \[12, 13\]"),
        (edit(f"{QUERY}.compressed", "i1", put(0, 0)), "compressed holds a zero"),
        (edit(f"{QUERY}.bitmask", "u1", put(1, 0xFF)), "padding bits set beyond column 13"),
        (edit(f"{QUERY}.bitmask", "u1", put(0, 0xFF)), "bits set, compressed holds"),
        (edit(f"{QUERY}.row_offsets", "<i8", put(3, -1)), r"row_offsets\[3\] is -1"),
        (edit(f"{QUERY}.scale", "<f4", put(0, np.nan)), "not finite and above 0"),
        (edit(f"{QUERY}.scale", "<f4", put(0, 0)), "not finite and above 0"),
        (replace("header:model.safetensors", shape=[3], content=b"abc"), "do not give the length of the rest"),
    ],
)
def test_inconsistent_sections_are_refused_even_with_right_hashes(pofa, sections, text):
    forge(pofa, sections=sections)
    with pytest.raises(CheckpointError, match=text) as caught:
        everything(pofa)
    assert str(pofa) in str(caught.value)
    with pytest.raises(CheckpointError, match=text):
        decompress(pofa, pofa.parent / "back")
    assert sorted(p.name for p in pofa.parent.iterdir()) == ["model", "out.pofa"]


def header_of(tensors):
    return lambda s: s.update({"header:model.safetensors": ("U8", [len(tensors)], tensors)})


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ({}, "no weight file's header holds the tensor"),
        ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, "its tensor 'x'"),
        ({QUERY: {"dtype": "F32", "shape": [13, 11], "data_offsets": [0, 572]}}, "is not in the manifest so"),
        ({QUERY: {"dtype": "I32", "shape": [11, 13], "data_offsets": [0, 572]}}, "is not in the manifest so"),
        ({QUERY: {"dtype": "F32", "shape": [11, 13], "data_offsets": [4, 576]}}, "overlap or leave a gap"),
    ],
)
def test_a_forged_weight_header_is_refused(pofa, header, text):
    forge(pofa, sections=header_of(with_header(header, b"")))
    with pytest.raises(CheckpointError, match=text):
        read_pofa(pofa).weight_headers()


def tensor(name, **change):
    return lambda m: m["tensors"][name].update(change)


@pytest.mark.parametrize(
    ("manifest", "text"),
    [
        (lambda m: m.update(form="zip"), "form is 'zip', this pruneofa reads bitmask, packed"),
        (lambda m: m.update(form="packed"), "form is 'packed' in a file of format_version '1', '2' or '3' is needed"),
        (tensor(QUERY, encoding="packed"), "encoding is 'packed', allowed is one of dense, bitmask, bitmask_int8;?$"),
        (lambda m: m.update(form=["bitmask"]), "form is"),
        (lambda m: m.pop("files"), "exactly form, tensors, model"),
        (lambda m: m.update(more=1), "exactly form, tensors, model"),
        (lambda m: m.update(tensors=[]), "tensors is no object"),
        (lambda m: m.update(files="config.json"), "files is 'config.json'"),
        (lambda m: m.update(files=[1]), r"files is \[1\]"),
        (lambda m: m.update(sha256=[]), "sha256 is no object"),
        (lambda m: m.update(model=None), "model: holds NoneType"),
        (lambda m: m["model"].update(encoder_weights=["y"]), "model names the weight 'y'"),
        (lambda m: m["model"]["sparsity"][QUERY].update(size=144), "has 144 elements, its shape"),
        (lambda m: m["model"].update(format_version=9), "format_version is 9"),
        (lambda m: m["sha256"].pop(f"{QUERY}.shape"), "has no SHA-256"),
        (lambda m: m["sha256"].update(ghost="0" * 64), "'ghost' has a SHA-256 but is not in the manifest"),
        (lambda m: m["sha256"].update({f"{QUERY}.shape": "XYZ"}), "64 lower-case hexadecimal"),
        (lambda m: m["sha256"].update({f"{QUERY}.shape": "0" * 64}), "does not match the SHA-256 in the manifest"),
        (tensor(QUERY, dtype="float31"), "dtype is 'float31'"),
        (tensor(QUERY, dtype=[]), r"dtype is \[\]"),
        (tensor(QUERY, encoding="zip"), "encoding is 'zip'"),
        (tensor(QUERY, shape=[11]), "allowed are matrices"),
        (tensor(QUERY, shape=[11, -13]), "no shape or too large"),
        (tensor(QUERY, shape=[11.0, 13]), "no shape or too large"),
        (tensor(QUERY, shape=[True, 13]), "no shape or too large"),
        (tensor(QUERY, shape=[2**40, 2**40]), "no shape or too large"),
        (tensor(QUERY, shape=[2**40, 2**40, 0]), "no shape or too large"),
        (tensor(QUERY, shape=[1] * 9), "no shape or too large"),
        (tensor(QUERY, shape=[2**20, 2**20]), "has shape"),
        (tensor(QUERY, shape=[11, 14]), "has 143 elements, its shape"),
        (tensor(QUERY, dtype="int64"), "bitmask_int8 with dtype int64"),
        (tensor(QUERY, encoding="dense"), "is missing"),
        (tensor(QUERY, note="x"), "exactly dtype, shape, encoding"),
        (
            lambda m: m["tensors"].update({f"{QUERY}.shape": m["tensors"][QUERY]}),
            "two parts need the section name|is missing",
        ),
        (
            lambda m: m["tensors"].update(__metadata__={"dtype": "uint8", "shape": [], "encoding": "dense"}),
            "'__metadata__'",
        ),
    ],
)
def test_a_forged_manifest_is_refused(pofa, manifest, text):
    forge(pofa, manifest=manifest)
    with pytest.raises(CheckpointError, match=text) as caught:
        everything(pofa)
    assert str(pofa) in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/x",
        "a/../../x",
        "..",
        ".",
        "",
        "a//b",
        "a/",
        "C:x",
        "a\\b",
        "nul.txt",
        "a\0b",
        "x" * 256,
        "a/" * 9 + "b",
        "config.json/x",
        "CONFIG.json",
        "model.safetensors",
        "ends.",
        "a\nb",
    ],
)
def test_names_that_leave_the_folder_are_refused(pofa, name):
    def sections(parts):
        parts[f"file:{name}"] = ("U8", [1], b"x")

    forge(pofa, sections=sections, manifest=lambda m: m["files"].append(name))
    with pytest.raises(CheckpointError, match="embedded file name"):
        decompress(pofa, pofa.parent / "back")
    assert sorted(p.name for p in pofa.parent.iterdir()) == ["model", "out.pofa"]


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        (lambda t: t.update(format="pt"), "metadata 'format' is 'pt', 'pofa' is needed"),
        (lambda t: t.pop("format"), "no .pofa file"),
        (lambda t: t.update(format_version="4"), "format_version is '4', this pruneofa reads '1', '2', '3'"),
        (
            lambda t: t.update(format_version="2"),
            "form is 'bitmask' in a file of format_version '2', '1' or '3' is needed",
        ),
        (lambda t: t.update(manifest_sha256="0" * 64), "does not match manifest_sha256"),
        (lambda t: t.pop("manifest"), "exactly format, format_version, manifest"),
        (lambda t: t.update(more="x"), "exactly format, format_version, manifest"),
        (lambda t: t.update(rehashed("[" * 5000)), "nested deeper"),
        (lambda t: t.update(rehashed('{"form": 1, "form": 2}')), "'form' appears twice"),
        (lambda t: t.update(rehashed("null")), "exactly form, tensors"),
    ],
)
def test_forged_metadata_is_refused(pofa, metadata, text):
    forge(pofa, metadata=metadata)
    with pytest.raises(CheckpointError, match=text):
        read_pofa(pofa)


def rehashed(text):
    return {"manifest": text, "manifest_sha256": hashlib.sha256(text.encode()).hexdigest()}


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("header", "data", "text"),
    [
        ({"a": ENTRY, "b": ENTRY | {"data_offsets": [2, 6]}}, 6, "overlap or leave a gap"),
        ({"a": ENTRY, "b": ENTRY | {"data_offsets": [8, 12]}}, 12, "overlap or leave a gap"),
        ({"a": ENTRY, "b": ENTRY}, 4, "overlap or leave a gap"),
        ({"a": ENTRY | {"data_offsets": [0, 8]}}, 8, "span 8 bytes, allowed is 4"),
        ({"a": ENTRY | {"data_offsets": [4, 0]}}, 4, "span -4 bytes"),
        ({"a": ENTRY | {"data_offsets": [-4, 0]}}, 4, "two whole numbers from 0"),
        ({"a": ENTRY | {"data_offsets": [0, 2**70]}}, 4, "span"),
        ({"a": ENTRY | {"dtype": "F4"}}, 4, "dtype is 'F4', allowed is one of"),
        ({"a": ENTRY | {"dtype": None}}, 4, "dtype is None"),
        ({"a": ENTRY | {"shape": [2**62, 4]}}, 4, "shape is"),
        ({"a": ENTRY | {"shape": "1"}}, 4, "shape is"),
        ({"a": ENTRY | {"more": 1}}, 4, "exactly dtype, shape, data_offsets"),
        ({"a": 3}, 4, "exactly dtype, shape, data_offsets"),
        ({"a": ENTRY, "__metadata__": []}, 4, "__metadata__ must be an object of texts"),
        ({"a": ENTRY, "__metadata__": {"x": 1}}, 4, "__metadata__ must be an object of texts"),
        ([], 0, "a JSON object is needed"),
        (f'{{"a": {json.dumps(ENTRY)}, "a": {json.dumps(ENTRY)}}}', 4, "'a' appears twice"),
        ("[" * 1000, 0, "header"),
    ],
)
def test_a_bad_safetensors_header_is_refused(tmp_path, header, data, text):
    path = tmp_path / "x.safetensors"
    path.write_bytes(with_header(header, b"\0" * data))
    with pytest.raises(CheckpointError, match=text):
        SafetensorsFile(path)


def test_the_safetensors_package_has_the_last_word(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    path.write_bytes(with_header({"a": ENTRY}, b"\0" * 4))
    assert SafetensorsFile(path).read("a").tolist() == [0]

    def refuse(*_, **__):
        raise SafetensorError("a rule of its own")

    monkeypatch.setattr(safetensors_file, "safe_open", refuse)
    with pytest.raises(CheckpointError, match=r"not a valid safetensors file .a rule of its own"):
        SafetensorsFile(path)


def test_a_dense_tensor_above_the_cap_is_refused_until_asked_for(pofa):
    with pytest.raises(CheckpointError, match=f"'{OUTPUT}'.*would take 1536 bytes, allowed are 1000.*max_tensor_bytes"):
        read_pofa(pofa, max_tensor_bytes=1000)
    read_pofa(pofa, max_tensor_bytes=1536).verify()


def test_verify_false_skips_only_the_hashes(pofa):
    forge(pofa, sections=edit("bert.encoder.layer.0.attention.self.query.bias", "<f4", put(0, 9)), rehash=False)
    name = "bert.encoder.layer.0.attention.self.query.bias"
    assert read_pofa(pofa, verify=False).tensor(name)[0] == 9
    with pytest.raises(CheckpointError, match="does not match the SHA-256"):
        read_pofa(pofa).tensor(name)


def test_a_file_cut_while_in_use_is_noticed(pofa):
    model = read_pofa(pofa)
    content = pofa.read_bytes()
    pofa.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="cut while in use"):
        for name in model.names:
            model.tensor(name)
    pofa.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        model.tensor(QUERY)


def test_a_plain_safetensors_file_is_no_pofa(tmp_path):
    path = tmp_path / "x.pofa"
    path.write_bytes(pack({"a": ("F32", [1], b"\0" * 4)}))
    with pytest.raises(CheckpointError, match=r"no \.pofa file; make one with `pruneofa compress`"):
        read_pofa(path)


def test_forging_alone_changes_nothing(pofa):
    """The tool of these tests makes valid files, so that what is refused above is refused for its fault."""
    before = everything(pofa)
    assert everything(forge(pofa)) == before
    decompress(pofa, pofa.parent / "back")
    assert contents(pofa.parent / "back") == contents(pofa.parent / "model")
