"""docs/format.md shows the bytes of a real file: made here again and compared, and read with the page's rules alone."""

import hashlib
import json
import re
import struct
from pathlib import Path

import numpy as np
from checkpoint_models import pack

from pruneofa.checkpoint.manifest import Manifest, write_manifest
from pruneofa.checkpoint.packed.frequencies import FrequencyTable
from pruneofa.checkpoint.packed.scale_classes import class_frequencies, row_classes
from pruneofa.checkpoint.reader import read_pofa
from pruneofa.checkpoint.writer import compress

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
NAME = "layer.weight"
SCALE = np.array([0.5, 0.25], dtype=np.float32)
WEIGHT = np.array([[0, 0, 1.5, 0, 0, 0, 0, -1, 0], [0, 0, 0, 0, 0, 0, 0, 0, 31.75]], dtype=np.float32)


PACKED_WEIGHT = np.where(WEIGHT == 31.75, np.float32(0.5), WEIGHT)


def example(folder: Path, *, int8: bool, form: str = "bitmask") -> Path:
    """The model folder of the page, compressed."""
    model = folder / "model"
    model.mkdir()
    # By hand, so that no library version changes a byte of the example.
    (model / "model.safetensors").write_bytes(
        pack({NAME: ("F32", [2, 9], (WEIGHT if form == "bitmask" else PACKED_WEIGHT).tobytes())})
    )
    (model / "config.json").write_bytes(b"{}")
    quantization = None
    if int8:
        scales = pack({f"{NAME}_scale": ("F32", [2], SCALE.tobytes())})
        (model / "quantization.safetensors").write_bytes(scales)
        quantization = {"weight_granularity": "per_channel", "bits": 8, "activation": None}
    sparsity = {NAME: {"size": 18, "zeros": 15, "target": None}}
    write_manifest(model, Manifest("example", (NAME,), (), sparsity, quantization))
    compress(model, folder / "example.pofa", form=form)
    return folder / "example.pofa"


def describe(path: Path) -> str:
    """The lines that the page shows: the size and hash of the file, and each section with its place and bytes."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    lines = [
        f"file            {len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}",
        f"0 .. 8          {content[:8].hex(' ')}   (header length {length})",
        f"8 .. {8 + length}       header",
    ]
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        lines.append(f"{begin} .. {end}    {name}  {entry['dtype']} {entry['shape']}")
        if name.startswith(NAME):
            lines += [f"    {content[at : min(at + 16, end)].hex(' ')}" for at in range(begin, end, 16)]
    return "\n".join(lines)


def block(page: str, name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```\w*\n(.*?)\n```", page, re.DOTALL)
    assert found is not None, f"docs/format.md has no block {name}"
    return found.group(1)


def test_the_page_shows_the_bytes_that_are_written(tmp_path):
    page = PAGE.read_text(encoding="utf-8")
    (tmp_path / "float").mkdir()
    (tmp_path / "int8").mkdir()
    path = example(tmp_path / "float", int8=False)
    assert block(page, "example-float") == describe(path)
    header = json.loads(path.read_bytes()[8 : 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]])
    assert json.loads(block(page, "example-manifest")) == json.loads(header["__metadata__"]["manifest"])
    assert block(page, "example-int8") == describe(example(tmp_path / "int8", int8=True))
    (tmp_path / "packed").mkdir()
    assert block(page, "example-packed") == describe(example(tmp_path / "packed", int8=True, form="packed"))


def test_the_page_shows_the_tables_of_classes():
    frequencies = np.zeros(256, np.int64)
    frequencies[[126, 130, 131]] = (86, 85, 85)
    classes = row_classes(SCALE)
    lines = []
    for of_class, found in zip(classes, class_frequencies(FrequencyTable(8, frequencies), 2016, classes), strict=True):
        shown = ", ".join(f"{symbol}: {found[symbol]}" for symbol in np.flatnonzero(found > 1))
        lines.append(f"class {of_class}      {shown}, all others: 1")
    assert block(PAGE.read_text(encoding="utf-8"), "example-classes") == "\n".join(lines)


def test_a_stranger_reads_the_example_by_the_page_alone(tmp_path):
    """The page's own reader, copied out of it and run: it gives the tensor that went in."""
    source = block(PAGE.read_text(encoding="utf-8"), "reader")
    for int8 in (False, True):
        (tmp_path / str(int8)).mkdir()
        path = example(tmp_path / str(int8), int8=int8)
        names: dict[str, object] = {}
        exec(source, names)
        found = names["read_tensor"](str(path), NAME)
        assert found == WEIGHT.tolist()
        assert read_pofa(path).tensor(NAME).tolist() == found
