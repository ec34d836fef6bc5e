"""Ways to damage a file, or to forge one: hashes are made to fit again, so that only the deeper checks can object."""

import hashlib
import json
import math
import random
from collections.abc import Callable
from typing import Any

import onnx

from fuzzing.seeds import Sections, pack, unpack

__all__ = ["MUTATIONS", "UNREPAIRED", "Mutation", "forge_scales", "sealed"]

Mutation = Callable[[random.Random, bytes], bytes]

_NUMBERS = (
    0,
    1,
    -1,
    2,
    7,
    8,
    255,
    256,
    2**15,
    2**16,
    2**31 - 1,
    2**31,
    2**32,
    2**40,
    2**47,
    2**48,
    2**63,
    2**64,
    10**30,
)
_VALUES = (
    None,
    True,
    False,
    "",
    "x",
    "\ud800",
    "../x",
    "/x",
    "a/b",
    "con",
    "x" * 300,
    [],
    {},
    [[]],
    1.5,
    1e308,
    "8",
    "packed",
)
_TYPES = (
    "F64",
    "F32",
    "F16",
    "BF16",
    "I64",
    "I32",
    "I16",
    "I8",
    "U64",
    "U16",
    "U8",
    "BOOL",
    "F8_E4M3",
    "C64",
    "F4",
    "",
)
_DTYPE_NAMES = ("float32", "float16", "bfloat16", "float64", "int8", "int64", "uint8", "bool", "float8_e4m3", "nothing")
_ENCODINGS = ("dense", "dense_int8", "bitmask", "bitmask_int8", "packed", "packed_int8", "other")


def flip_bits(rng: random.Random, content: bytes) -> bytes:
    """One to eight bits flipped, or bytes replaced by telling ones."""
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        at = rng.randrange(len(damaged))
        damaged[at] = (
            damaged[at] ^ (1 << rng.randrange(8)) if rng.random() < 0.7 else rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        )
    return bytes(damaged)


def cut(rng: random.Random, content: bytes) -> bytes:
    """Truncated, lengthened, or a stretch taken out, doubled, zeroed or moved."""
    begin = rng.randrange(len(content))
    end = min(len(content), begin + rng.choice((1, 2, 8, 64, 512)))
    kind = rng.randrange(6)
    if kind == 0:
        return content[:begin]
    if kind == 1:
        return content + rng.randbytes(rng.choice((1, 8, 64)))
    if kind == 2:
        return content[:begin] + content[end:]
    if kind == 3:
        return content[:end] + content[begin:]
    if kind == 4:
        return content[:begin] + bytes(end - begin) + content[end:]
    other = rng.randrange(len(content))
    return content[:begin] + content[other : other + end - begin] + content[end:]


def forge_header(rng: random.Random, content: bytes) -> bytes:
    """The header's lengths, offsets, types, shapes or names changed; the manifest stays as it is."""
    sections, metadata = unpack(content)
    kind = rng.randrange(6)
    if kind == 0:  # the length of the header
        length = rng.choice((0, 1, 2**20, 2**26, 2**26 + 1, 2**31, 2**63, 2**64 - 1, len(content), len(content) - 8))
        return length.to_bytes(8, "little") + content[8:]
    name = rng.choice(list(sections))
    if kind == 1:  # overlapping, gaps, beyond the end, backwards, other numbers
        begin = rng.choice((0, 1, 8, len(content), rng.choice(_NUMBERS)))
        place = [begin, rng.choice((begin, begin + len(sections[name][2]), 0, rng.choice(_NUMBERS)))]
        return pack(
            sections, metadata, offsets={name: rng.choice((place, place[:1], [*place, 0], [str(begin), begin]))}
        )
    if kind == 2:
        return pack(_retyped(rng, sections, name), metadata)
    if kind == 3:
        sections = {(rng.choice((f"{name}x", "", "x" * 500)) if key == name else key): s for key, s in sections.items()}
        return pack(sections, metadata)
    if kind == 4:
        key = rng.choice([*metadata, "more"])
        return pack(sections, {**metadata, key: rng.choice(("", "1", "2", "3", "pofa", "{}", "\ud800"))})
    text = rng.choice(
        (b"[" * 50_000, b"{}", b'{"a":1,"a":2}', b'{"__metadata__":{"a":NaN}}', b"\xff\xfe", b"[]", b'{"a":')
    )
    return len(text).to_bytes(8, "little") + text


def forge_manifest(rng: random.Random, content: bytes) -> bytes:
    """Values anywhere in the manifest changed, its own hash repaired."""
    sections, metadata = unpack(content)
    value = json.loads(metadata["manifest"])
    for _ in range(rng.choice((1, 1, 2, 3))):
        _change_tree(rng, value)
    return sealed(rng, sections, metadata, value, rehash=False)


def forge_sections(rng: random.Random, content: bytes) -> bytes:
    """Bytes inside sections changed, hashes repaired: counts, offsets, tables, streams, scales, embedded headers."""
    sections, metadata = unpack(content)
    names = [name for name, section in sections.items() if section[2]]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        # Long weights would take most changes; each section is as likely as another.
        name = rng.choice(names)
        code, shape, data = sections[name]
        sections[name] = (code, shape, _changed_bytes(rng, data))
    return sealed(rng, sections, metadata, json.loads(metadata["manifest"]), rehash=True)


def forge_tables(rng: random.Random, content: bytes) -> bytes:
    """As `forge_sections`, but only what the entropy coder reads; for other files the masks, offsets and scales."""
    sections, metadata = unpack(content)
    parts = (".packed_tables", ".packed_stream", ".packed_planes", ".bitmask", ".row_offsets", ".shape", ".scale")
    name = rng.choice([name for name, section in sections.items() if name.endswith(parts) and section[2]])
    code, shape, data = sections[name]
    if name.endswith((".packed_tables", ".packed_stream")) and rng.random() < 0.3:  # another length
        size = 2 if code == "U16" else 1
        data = data[: size * rng.randrange(len(data) // size + 1)] + rng.randbytes(size * rng.choice((0, 0, 1, 9)))
        shape = [len(data) // size]
    sections[name] = (code, shape, _changed_bytes(rng, data) if data and rng.random() < 0.8 else data)
    return sealed(rng, sections, metadata, json.loads(metadata["manifest"]), rehash=True)


def forge_structure(rng: random.Random, content: bytes) -> bytes:
    """Sections missing, added, swapped, of another type, shape or length; hashes repaired."""
    sections, metadata = unpack(content)
    value = json.loads(metadata["manifest"])
    for _ in range(rng.choice((1, 1, 2))):
        name, other = rng.choice(list(sections)), rng.choice(list(sections))
        kind = rng.randrange(6)
        if kind == 0 and len(sections) > 1:
            del sections[name]
        elif kind == 1:
            sections[rng.choice((f"{name}.scale", f"{name}.bitmask", f"{name}x", "file:x"))] = sections[other]
        elif kind == 2:
            sections[name], sections[other] = sections[other], sections[name]
        elif kind == 3:
            sections = _retyped(rng, sections, name)
        elif kind == 4:
            code, shape, data = sections[name]
            data = data[: rng.randrange(len(data) + 1)] if rng.random() < 0.5 else data + rng.randbytes(8)
            sections[name] = (code, shape if rng.random() < 0.5 else [len(data)], data)
        else:
            _change_entry(rng, value["tensors"])
    return sealed(rng, sections, metadata, value, rehash=True)


def forge_bomb(rng: random.Random, content: bytes) -> bytes:
    """A tensor that says it is far larger, with all that names its size made to agree."""
    sections, metadata = unpack(content)
    value = json.loads(metadata["manifest"])
    name = rng.choice([name for name, entry in value["tensors"].items() if len(entry["shape"]) == 2])
    rows = rng.choice((1, 64, 1000, 2**14, 2**20, 2**30))
    columns = rng.choice((0, 1, 8, 1000, 2**14, 2**20, 2**30))
    entry = value["tensors"][name]
    entry["shape"] = [rows, columns]
    if name in value["model"]["sparsity"]:
        value["model"]["sparsity"][name]["size"] = rows * columns
    mask = rows * -(-columns // 8)
    if f"{name}.bitmask" in sections and max(mask, 8 * rows) < 2**20:
        sections[f"{name}.bitmask"] = ("U8", [rows, -(-columns // 8)], rng.choice((b"\0", b"\xff")) * mask)
        sections[f"{name}.row_offsets"] = ("I64", [rows], bytes(8 * rows))
        sections[f"{name}.shape"] = ("I64", [2], rows.to_bytes(8, "little") + columns.to_bytes(8, "little"))
        if rng.random() < 0.5:
            sections[f"{name}.compressed"] = (sections[f"{name}.compressed"][0], [0], b"")
    if f"{name}.packed_tables" in sections:
        _bomb_tables(rng, sections, name)
    if f"{name}.scale" in sections and rows < 2**18 and rng.random() < 0.8:
        sections[f"{name}.scale"] = ("F32", [1], b"\0\0\x80?")
    header = "header:model.safetensors"
    if header in sections and rng.random() < 0.9:  # the embedded header tells the same story
        data = _resized_header(sections[header][2], name, [rows, columns])
        sections[header] = ("U8", [len(data)], data)
    return sealed(rng, sections, metadata, value, rehash=True)


def forge_version(rng: random.Random, content: bytes) -> bytes:
    """Another version, format or form."""
    sections, metadata = unpack(content)
    value = json.loads(metadata["manifest"])
    key = rng.choice(("format", "format_version", "form", "model"))
    if key == "form":
        value["form"] = rng.choice(("bitmask", "packed", "other", "", None, 1))
    elif key == "model":
        value["model"]["format_version"] = rng.choice((0, 2, 99, "1", None, True, 1.0, 10**30))
    else:
        metadata[key] = rng.choice(("", "0", "1", "2", "3", "4", "99", "pofa", "POFA", "-1", "1.0"))
    return sealed(rng, sections, metadata, value, rehash=True)


def forge_scales(rng: random.Random, content: bytes) -> bytes:
    """Tensors or the config of a quantization.safetensors changed; it has no hashes."""
    sections, metadata = unpack(content)
    name = rng.choice(list(sections))
    kind = rng.randrange(5)
    if kind == 0:
        code, shape, data = sections[name]
        sections[name] = (code, shape, _changed_bytes(rng, data))
    elif kind == 1:
        sections = _retyped(rng, sections, name)
    elif kind == 2:
        del sections[name]
    elif kind == 3:
        sections[rng.choice(("x.weight_scale", "weight_scale", ".input_scale", f"{name}s", "x"))] = sections[name]
    else:
        config = json.loads(metadata.get("config", "{}"))
        _change_tree(rng, config)
        key = rng.choice(("config", "config", "format", "format_version"))
        metadata[key] = json.dumps(config) if key == "config" else rng.choice(("", "1", "2", "3", "x"))
    return pack(sections, metadata)


def forge_graph(rng: random.Random, content: bytes) -> bytes:
    """Tensors, nodes or metadata of an ONNX graph changed, in a well-formed file."""
    model = onnx.ModelProto.FromString(content)
    tensor = rng.choice(model.graph.initializer)
    kind = rng.randrange(8)
    if kind == 0:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice([n for n in _NUMBERS if n < 2**63])
    elif kind == 1:
        tensor.data_type = rng.randrange(30)
    elif kind == 2:
        tensor.raw_data = rng.randbytes(rng.choice((0, 1, 4, 66, 264)))
    elif kind == 3:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=rng.choice(("../x", "/etc/hostname", "x")))
    elif kind == 4:
        tensor.dims.extend(rng.choice(([0], [1], [2**40, 2**40], [1] * 40, [-1])))
    elif kind == 5:
        node = rng.choice(model.graph.node)
        for i in range(len(node.input)):
            if rng.random() < 0.5:
                node.input[i] = rng.choice(("", "x", "w", "h", "y", "q", "s", "z", "v"))
        node.op_type = rng.choice((node.op_type, "Transpose", "QLinearMatMul", "MatMulInteger", "Identity"))
    elif kind == 6:
        tensor.name = rng.choice(("q", "s", "z", "v", "", "x" * 400, "encoder.layer.0.a"))
    else:
        value = rng.choice(
            ("", "{}", "[]", '{"encoder_weights":["x"],"pooler_weights":[]}', "[" * 9000, '{"encoder_weights":1}')
        )
        del model.metadata_props[:]
        model.metadata_props.add(key="pruneofa", value=value)
    return model.SerializeToString()


UNREPAIRED = ("bits", "cuts", "header")
"""Kinds after which a `.pofa` file is refused or reads exactly as before, since no hash was repaired."""

MUTATIONS: dict[str, tuple[tuple[str, Mutation], ...]] = {
    "pofa": (
        ("bits", flip_bits),
        ("cuts", cut),
        ("header", forge_header),
        ("manifest", forge_manifest),
        ("sections", forge_sections),
        ("tables", forge_tables),
        ("structure", forge_structure),
        ("bombs", forge_bomb),
        ("versions", forge_version),
    ),
    "quantization": (("bits", flip_bits), ("cuts", cut), ("header", forge_header), ("scales", forge_scales)),
    "onnx": (("bits", flip_bits), ("cuts", cut), ("graph", forge_graph)),
}


def sealed(rng: random.Random, sections: Sections, metadata: dict[str, str], value: Any, *, rehash: bool) -> bytes:
    """The file with hashes that fit again."""
    if rehash and isinstance(value, dict):
        value["sha256"] = {name: hashlib.sha256(data).hexdigest() for name, (_, _, data) in sections.items()}
    text = json.dumps(value)
    sealed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    names = list(sections)
    if rng.random() < 0.1:
        rng.shuffle(names)  # a reader must not depend on the order
    return pack({name: sections[name] for name in names}, {**metadata, "manifest": text, "manifest_sha256": sealed})


def _changed_bytes(rng: random.Random, data: bytes) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    kind = rng.randrange(5)
    if kind == 0:
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        for _ in range(rng.choice((1, 2, 5))):
            changed[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    elif kind == 2:  # a whole number of 2, 4 or 8 bytes
        size = rng.choice((2, 4, 8))
        at = rng.randrange(len(data)) // size * size
        number = rng.choice(_NUMBERS) % (1 << (8 * size))
        changed[at : at + size] = number.to_bytes(size, "little")[: len(data) - at]
    elif kind == 3:
        changed[:] = rng.choice((b"\0", b"\xff", b"\x80", b"\x01")) * len(data)
    else:
        begin = rng.randrange(len(data))
        end = min(len(data), begin + rng.choice((1, 4, 16)))
        changed[begin:end] = rng.randbytes(end - begin)
    return bytes(changed)


def _retyped(rng: random.Random, sections: Sections, name: str) -> Sections:
    code, shape, data = sections[name]
    shape = list(shape)
    if rng.random() < 0.5:
        code = rng.choice(_TYPES)
    elif shape and rng.random() < 0.7:
        shape[rng.randrange(len(shape))] = rng.choice(_NUMBERS)
    else:
        shape = rng.choice(([], [len(data)], [0, *shape], [*shape, 1], shape[::-1], [2**40, 2**40, 0], [1] * 9, ["1"]))
    return {**sections, name: (code, shape, data)}


def _change_entry(rng: random.Random, tensors: dict[str, Any]) -> None:
    entry = tensors[rng.choice(list(tensors))]
    key = rng.choice(("dtype", "shape", "encoding"))
    if key == "dtype":
        entry[key] = rng.choice(_DTYPE_NAMES)
    elif key == "encoding":
        entry[key] = rng.choice(_ENCODINGS)
    elif entry["shape"]:
        entry["shape"][rng.randrange(len(entry["shape"]))] = rng.choice(_NUMBERS)


def _resized_header(data: bytes, name: str, shape: list[int]) -> bytes:
    """A weight file's header in which one tensor has another shape, and all lie behind each other again."""
    inner = json.loads(data[8:])
    sizes = {"F64": 8, "F32": 4, "I64": 8, "I8": 1, "U8": 1}
    inner[name]["shape"] = shape
    at = 0
    for entry in sorted((e for key, e in inner.items() if key != "__metadata__"), key=lambda e: e["data_offsets"]):
        end = at + math.prod(entry["shape"]) * sizes.get(entry["dtype"], 2)
        entry["data_offsets"] = [at, end]
        at = end
    text = json.dumps(inner).encode()
    return len(text).to_bytes(8, "little") + text


def _bomb_tables(rng: random.Random, sections: Sections, name: str) -> None:
    """One class of rows and columns, with a share of ones that needs no symbols, or few."""
    _, _, tables = sections[f"{name}.packed_tables"]
    share = rng.choice((0, 0, 0, 65535, 1, 65534, 32768))
    lane_bits = rng.choice((tables[0], 0, 0, 12, 16, 17))
    made = bytes((lane_bits, 1, 1, rng.choice((4, 8)), tables[4])) + share.to_bytes(2, "little") + tables[7:]
    made += bytes(rng.choice((0, 0, 0, 2000)))
    sections[f"{name}.packed_tables"] = ("U8", [len(made)], made)
    lanes = 1 << min(lane_bits, 12)
    states = (2**16).to_bytes(4, "little") * lanes + rng.randbytes(2 * rng.choice((0, 0, 0, 1, 200, 2000)))
    sections[f"{name}.packed_stream"] = ("U16", [len(states) // 2], states)
    if f"{name}.packed_planes" in sections and rng.random() < 0.7:
        rows = rng.choice((0, 1, 2, 4))
        sections[f"{name}.packed_planes"] = ("U8", [rows, 0], b"")


def _change_tree(rng: random.Random, value: Any) -> None:
    """One value at a random place of a JSON tree replaced, removed, doubled or added."""
    node = value
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            break
        key = rng.choice(keys)
        child = node[key]
        if isinstance(child, dict | list) and child and rng.random() < 0.8:
            node = child
            continue
        kind = rng.randrange(4)
        if kind == 0:
            del node[key]
        elif kind == 1 and isinstance(node, dict):
            node[rng.choice(("x", f"{key}x", ""))] = child
        elif kind == 2 and isinstance(node, list):
            node.append(child)
        else:
            node[key] = rng.choice((rng.choice(_NUMBERS), rng.choice(_VALUES), child, _nested(rng)))
        return
    if isinstance(node, list):
        node.append(rng.choice(_VALUES))
    else:
        node["x"] = rng.choice(_VALUES)


def _nested(rng: random.Random) -> Any:
    value: Any = 0
    for _ in range(rng.choice((1, 31, 40, 300))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value
