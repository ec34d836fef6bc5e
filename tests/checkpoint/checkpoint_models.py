"""Tiny model folders and tools to damage compressed files; everything with numpy alone."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from pruneofa.checkpoint.manifest import Manifest, write_manifest

QUERY = "bert.encoder.layer.0.attention.self.query.weight"
OUTPUT = "bert.encoder.layer.0.output.dense.weight"
POOLER = "bert.pooler.dense.weight"
EMBEDDING = "bert.embeddings.word_embeddings.weight"


def pack(tensors: dict[str, tuple[str, list[int], bytes]], metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file by hand: name -> (code, shape, bytes), in the given order."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    data = b""
    for name, (code, shape, content) in tensors.items():
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    return with_header(header, data)


def with_header(header: Any, data: bytes) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return len(text).to_bytes(8, "little") + text + data


def unpack(content: bytes) -> tuple[dict[str, tuple[str, list[int], bytes]], dict[str, str]]:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    data = content[8 + length :]
    return {n: (e["dtype"], e["shape"], data[slice(*e["data_offsets"])]) for n, e in header.items()}, metadata


def sparse(shape: tuple[int, ...], share: float, seed: int, dtype: Any = np.float32) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape).astype(dtype)
    values[rng.random(shape) < share] = 0
    return values


def on_grid(shape: tuple[int, int], seed: int, per_channel: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """(float32 weight that is q * scale, scale)."""
    rng = np.random.default_rng(seed)
    scale = rng.uniform(1e-4, 1e-2, size=shape[0] if per_channel else 1).astype(np.float32)
    integers = rng.integers(-128, 128, size=shape)
    integers[rng.random(shape) < 0.85] = 0
    return integers.astype(np.float32) * scale[:, None], scale


def zeros_of(tensor: np.ndarray) -> dict[str, Any]:
    return {"size": tensor.size, "zeros": int((tensor.view(np.uint32) == 0).sum()), "target": 0.85}


def make_model(folder: Path, *, int8: bool = False, per_channel: bool = True, manifest: bool = True) -> Path:
    """A BERT-like folder: two encoder weights, a pooler, an embedding, a bias, int64 positions, a head, other files."""
    folder.mkdir(parents=True)
    tensors = {
        EMBEDDING: sparse((20, 9), 0.0, 1),
        QUERY: sparse((11, 13), 0.85, 2),
        "bert.encoder.layer.0.attention.self.query.bias": sparse((11,), 0.0, 3),
        OUTPUT: sparse((16, 24), 0.9, 4),
        POOLER: sparse((8, 8), 0.5, 5),
        "bert.embeddings.position_ids": np.arange(7, dtype=np.int64)[None, :],
    }
    scales = {}
    if int8:
        for seed, name in enumerate((QUERY, OUTPUT, POOLER)):
            tensors[name], scales[f"{name}_scale"] = on_grid(tensors[name].shape, seed, per_channel)
        scales["bert.encoder.layer.0.attention.self.query.input_scale"] = np.array([0.02], dtype=np.float32)
        save_file(scales, folder / "quantization.safetensors")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text('{"model_type": "bert"}\n')
    (folder / "vocab.txt").write_bytes(b"[PAD]\r\n\xff\x00")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    if manifest:
        quantization = {
            "weight_granularity": "per_channel" if per_channel else "per_tensor",
            "bits": 8,
            "activation": {"bits": 8},
        }
        write_manifest(
            folder,
            Manifest(
                stage="quantize" if int8 else "prune",
                encoder_weights=(QUERY, OUTPUT),
                pooler_weights=(POOLER,),
                sparsity={name: zeros_of(tensors[name]) for name in (QUERY, OUTPUT)},
                quantization=quantization if int8 else None,
                extra={"base_model": "tiny"},
            ),
        )
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def forge(
    path: Path,
    manifest: Callable[[dict[str, Any]], None] | None = None,
    sections: Callable[[dict[str, tuple[str, list[int], bytes]]], None] | None = None,
    metadata: Callable[[dict[str, str]], None] | None = None,
    rehash: bool = True,
) -> Path:
    """Change a .pofa file as an attacker would: all hashes are made to fit again, so only other checks can object."""
    tensors, texts = unpack(path.read_bytes())
    value = json.loads(texts["manifest"])
    if sections is not None:
        sections(tensors)
    if rehash:
        value["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, (_, _, content) in tensors.items()}
    if manifest is not None:
        manifest(value)
    texts["manifest"] = json.dumps(value)
    texts["manifest_sha256"] = hashlib.sha256(texts["manifest"].encode()).hexdigest()
    if metadata is not None:
        metadata(texts)
    path.write_bytes(pack(tensors, texts))
    return path
