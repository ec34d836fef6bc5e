"""Small valid files of every kind that the readers know, to be mutated."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from pruneofa.checkpoint.dtypes import DTYPES_BY_NAME
from pruneofa.checkpoint.manifest import Manifest, write_manifest
from pruneofa.checkpoint.reader import CompressedModel, read_pofa
from pruneofa.checkpoint.safetensors_file import Section, write_sections
from pruneofa.checkpoint.writer import compress
from pruneofa.export.weights import write_metadata

QUERY = "encoder.layer.0.query.weight"
OUTPUT = "encoder.layer.0.output.weight"
TABLE = "embeddings.word_embeddings.weight"

Sections = dict[str, tuple[str, list[int], bytes]]


@dataclass(frozen=True)
class Seed:
    """A valid file.

    Attributes:
        family: "pofa", "quantization" or "onnx": which readers it is for.
        name: what it holds.
        content: its bytes.
        expected: what a reader gives out of it, for `.pofa` files.
        folder: what lies beside it, for a folder's quantization.safetensors.
    """

    family: str
    name: str
    content: bytes
    expected: Any = None
    folder: Path | None = None


def unpack(content: bytes) -> tuple[Sections, dict[str, str]]:
    """The tensors and the metadata of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    data = content[8 + length :]
    return {n: (e["dtype"], e["shape"], data[slice(*e["data_offsets"])]) for n, e in header.items()}, metadata


def pack(sections: Sections, metadata: dict[str, str], *, offsets: dict[str, list[int]] | None = None) -> bytes:
    """A safetensors file by hand; `offsets` replaces the true places of some tensors."""
    header: dict[str, Any] = {"__metadata__": metadata}
    at = 0
    for name, (code, shape, content) in sections.items():
        place = [at, at + len(content)]
        header[name] = {"dtype": code, "shape": shape, "data_offsets": (offsets or {}).get(name, place)}
        at += len(content)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(content for _, _, content in sections.values())


def contents(model: CompressedModel) -> Any:
    """All that a reader gives out of a `.pofa` file."""
    tensors = {}
    for name in model.names:
        values = model.tensor(name)
        tensors[name] = (values.dtype.str, values.shape, values.tobytes())
    return tensors, {name: model.file(name) for name in model.files}, model.weight_headers(), model.manifest.as_dict()


def make_seeds(folder: Path) -> list[Seed]:
    """Write and read the valid files of all families; `folder` keeps those that others lie beside."""
    seeds = []
    for name, form, dtype, int8 in (
        ("bitmask float32", "bitmask", "float32", ""),
        ("bitmask bfloat16", "bitmask", "bfloat16", ""),
        ("bitmask int8 per channel", "bitmask", "float32", "per_channel"),
        ("bitmask int8 per tensor", "bitmask", "float16", "per_tensor"),
        ("packed float32", "packed", "float32", ""),
        ("packed float16", "packed", "float16", ""),
        ("packed int8 per channel", "packed", "float32", "per_channel"),
        ("packed int8 per tensor", "packed", "bfloat16", "per_tensor"),
        ("uneven packed int8", "packed", "float32", "per_channel"),
        ("scaled packed int8", "packed", "float32", "per_channel"),
        ("table bitmask int8", "bitmask", "float32", "per_channel"),
    ):
        model = folder / name.replace(" ", "-")
        _write_folder(model, dtype, int8, name.split()[0])
        path = model.with_suffix(".pofa")
        compress(model, path, form=form)
        opened = read_pofa(path)
        encodings = {opened.entry(weight).encoding for weight in (QUERY, OUTPUT)}
        assert encodings == {f"{form}_int8" if int8 else form}, (name, encodings)
        if name.startswith("uneven"):  # tables of classes are read too
            assert min(opened.raw(f"{QUERY}.packed_tables")[1:3]) > 1
        if name.startswith("scaled"):  # so are tables that follow the scales
            assert opened.raw(f"{QUERY}.packed_tables")[4] == opened.raw(f"{OUTPUT}.packed_tables")[4] == 129
        if name.startswith("table"):
            assert opened.entry(TABLE).encoding == "dense_int8"
        seeds.append(Seed("pofa", name, path.read_bytes(), contents(opened)))
    for granularity in ("per_channel", "per_tensor"):
        model = folder / f"folder-{granularity}"
        _write_folder(model, "float32", granularity)
        content = (model / "quantization.safetensors").read_bytes()
        seeds.append(Seed("quantization", f"scales {granularity}", content, folder=model))
    return [*seeds, *(Seed("onnx", name, content) for name, content in _onnx_files().items())]


def _matrix(rng: np.random.Generator, shape: tuple[int, int], scale: NDArray[Any], kind: str = "") -> NDArray[Any]:
    """A sparse matrix of whole numbers; "uneven": rows and columns of very different density; "table": without zeros;
    "scaled": of one distribution of weights, so that rows of a fine scale [R] or [1] have many levels.
    """
    share = np.full(shape, 1.0 if kind == "table" else 0.3)
    if kind == "uneven":
        share = np.where(np.arange(shape[0]) % 2, 0.9, 0.02)[:, None] * np.where(np.arange(shape[1]) % 2, 1.0, 0.1)
    # Few levels, so that a table of their frequencies pays in a small matrix.
    levels = rng.integers(1, 5, size=shape) * rng.choice([-1, 1], size=shape)
    if kind == "scaled":
        levels = np.clip(np.rint(0.2 * rng.normal(size=shape) / scale[:, None]), -127, 127) + 0.0  # no -0.0
    return np.where(rng.random(shape) < share, levels, 0).astype(np.float32)


def _write_folder(folder: Path, dtype_name: str, int8: str, kind: str = "") -> None:
    folder.mkdir()
    rng = np.random.default_rng(len(folder.name))
    dtype, float32 = DTYPES_BY_NAME[dtype_name], DTYPES_BY_NAME["float32"]
    shapes = {QUERY: (32, 40), OUTPUT: (9, 16)} if kind == "uneven" else {QUERY: (9, 13), OUTPUT: (7, 16)}
    if kind == "scaled":
        shapes = {QUERY: (32, 40), OUTPUT: (24, 32)}
    elif kind == "table":
        shapes[TABLE] = (20, 6)
    sections, scales = [], {}
    for name, shape in shapes.items():
        # Powers of two, so that the product is exact in every type.
        scale = 2.0 ** rng.integers(-6, -2, size=shape[0] if int8 == "per_channel" else 1).astype(np.float32)
        levels = _matrix(rng, shape, scale, kind)
        weight = (levels * scale[:, None]).astype(np.float32)
        if dtype_name == "bfloat16":
            stored: NDArray[Any] = (weight.view(np.uint32) >> 16).astype(np.uint16)
        else:
            stored = weight.astype(dtype.storage)
        sections.append(Section(name, dtype, shape, lambda stored=stored: stored))
        scales[f"{name}_scale"] = scale.astype(np.float32)
    bias = np.linspace(-1, 1, 5, dtype=np.float32)
    sections.append(Section("encoder.layer.0.query.bias", float32, (5,), lambda: bias))
    with (folder / "model.safetensors").open("wb") as file:
        write_sections(file, sections, {"format": "pt"})
    if int8:
        _write_scales(folder, scales, int8)
    (folder / "config.json").write_text("{}\n")
    quantization = {"weight_granularity": int8, "bits": 8, "activation": None} if int8 else None
    sparsity = {QUERY: {"size": shapes[QUERY][0] * shapes[QUERY][1], "zeros": 0, "target": 0.5}}
    write_manifest(folder, Manifest("fuzz", (QUERY,), (OUTPUT,), sparsity, quantization))


def _write_scales(folder: Path, scales: dict[str, NDArray[np.float32]], granularity: str) -> None:
    tensors: dict[str, NDArray[Any]] = dict(scales)
    for name in scales:
        module = name.removesuffix(".weight_scale")
        for kind in ("input", "output"):
            tensors[f"{module}.{kind}_scale"] = np.array([0.02], np.float32)
            tensors[f"{module}.{kind}_zero_point"] = np.array([128], np.uint8)
    config = json.dumps({"weight_granularity": granularity})
    metadata = {"format": "pruneofa-quantization", "format_version": "1", "config": config}
    save_file(tensors, folder / "quantization.safetensors", metadata=metadata)


def _onnx_files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    weight = _matrix(rng, (11, 6), np.ones(1))
    levels = weight.astype(np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["h"], name="/encoder/layer.0/query/MatMul"),
        helper.make_node("Gemm", ["h", "v"], ["y"], name="pooler", transB=1),
    ]
    constants = [
        numpy_helper.from_array(levels, "q"),
        numpy_helper.from_array(np.full(6, 0.5, np.float32), "s"),
        numpy_helper.from_array(np.zeros(6, np.int8), "z"),
        helper.make_tensor("v", TensorProto.FLOAT, [4, 6], weight[:4, :6].reshape(-1).tolist()),
        helper.make_tensor("half", TensorProto.FLOAT16, [3], np.array([1, 0, 2], np.float16).tobytes(), raw=True),
    ]
    graph = helper.make_graph(
        nodes,
        "fuzz",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 11])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    onnx.checker.check_model(model)
    foreign = model.SerializeToString()
    write_metadata(model, {"encoder_weights": ["q"], "pooler_weights": ["v"]})
    return {"without metadata": foreign, "with metadata": model.SerializeToString()}
