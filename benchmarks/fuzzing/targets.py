"""What is done with a mutated file, and what must come of it: a clean error, or a correct read."""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuzzing.mutations import UNREPAIRED
from fuzzing.seeds import Seed, contents
from pruneofa.checkpoint.decompress import decompress
from pruneofa.checkpoint.inspection import Inspection, inspect_model
from pruneofa.checkpoint.reader import CompressedModel, read_pofa
from pruneofa.errors import CheckpointError
from pruneofa.export.inspection import inspect_onnx
from pruneofa.quantization.state import load_quantization

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
LARGEST_COMPARED = 4096  # elements; the page's reader is scalar
COMPARED_SHARE = 0.3  # of the forged files that can be read; the page's reader is slow

_Values = NDArray[Any]


class Judge:
    """Reads mutated files in one folder.

    Args:
        folder: Empty; a fast file system does well.
        seeds: The valid files; folders are copied from where they are.
    """

    def __init__(self, folder: Path, seeds: list[Seed]) -> None:
        self._pofa, self._onnx, self._back = folder / "case.pofa", folder / "case.onnx", folder / "back"
        self._folders = {}
        for index, seed in enumerate(seeds):
            if seed.folder is not None:
                self._folders[seed.name] = Path(shutil.copytree(seed.folder, folder / f"model-{index}"))
        names: dict[str, Any] = {}
        source = re.search(r"<!-- reader-packed -->\n```\w*\n(.*?)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        assert source is not None
        exec(source.group(1), names)
        self._read_packed: Callable[..., list[int]] = names["read_packed"]

    def read(self, seed: Seed, kind: str, content: bytes, rng: random.Random) -> str:
        """Read one file in full.

        Returns:
            "read" if it could be read, and correctly.

        Raises:
            CheckpointError: The clean error that a damaged file shall give.
            Exception: Anything else is a fault of the reader.
        """
        if seed.family == "onnx":
            self._onnx.write_bytes(content)
            _check_inspection(inspect_onnx(self._onnx))
        elif seed.family == "quantization":
            self._read_scales(self._folders[seed.name], content, rng)
        else:
            self._pofa.write_bytes(content)
            self._read_pofa(seed, kind, rng)
        return "read"

    def _read_scales(self, folder: Path, content: bytes, rng: random.Random) -> None:
        (folder / "quantization.safetensors").write_bytes(content)
        if rng.random() < 0.5:
            _check_inspection(inspect_model(folder))
            return
        state = load_quantization(folder)
        for parameters in state.modules.values():
            scales = [parameters.weight_scale, parameters.input_scale, parameters.output_scale]
            assert all(bool((scale > 0).all() & scale.isfinite().all()) for scale in scales if scale is not None)

    def _read_pofa(self, seed: Seed, kind: str, rng: random.Random) -> None:
        way = rng.random()
        if way < 0.1:
            _check_inspection(inspect_model(self._pofa))
        elif way < 0.15:
            self._decompress()
        model = read_pofa(self._pofa)
        if kind in UNREPAIRED:
            assert contents(model) == seed.expected, "read without an error, but not what was written"
            return
        found = {name: model.stored_values(name) for name in model.names}
        for name, values in found.items():
            model.scaled(name, values)
        for name in model.files:
            model.file(name)
        model.weight_headers()
        if rng.random() < COMPARED_SHARE:
            for name, values in found.items():
                self._compare(model, name, values)

    def _decompress(self) -> None:
        try:
            decompress(self._pofa, self._back)
            shutil.rmtree(self._back)
        except CheckpointError:
            assert not self._back.exists(), "decompress left something behind"
            raise

    def _compare(self, model: CompressedModel, name: str, found: _Values) -> None:
        """What the reader gives is what an independent, scalar reader gives."""
        entry = model.entry(name)
        if entry.encoding.startswith("bitmask"):
            assert found.shape == entry.shape
            if found.size > LARGEST_COMPARED:
                return
            expected = _from_bitmask(model, name)
        elif entry.encoding.startswith("packed"):
            assert found.shape == entry.shape
            if found.size > LARGEST_COMPARED:
                return
            dtype = "int8" if entry.encoding == "packed_int8" else entry.dtype.name
            rows, columns = entry.shape
            numbers = self._read_packed(_numbers(model), name, rows, columns, found.itemsize, dtype)
            expected = np.array(numbers, dtype=np.int8 if dtype == "int8" else f"<u{found.itemsize}").view(found.dtype)
        else:
            return
        assert found.tobytes() == expected.tobytes(), f"{name}: the reader and the page's rules disagree"


def _numbers(model: CompressedModel) -> Callable[[str], list[int]]:
    return lambda section: model.raw(section).reshape(-1).tolist()


def _from_bitmask(model: CompressedModel, name: str) -> _Values:
    values, mask = model.raw(f"{name}.compressed"), model.raw(f"{name}.bitmask")
    offsets = model.raw(f"{name}.row_offsets").tolist()
    rows, columns = model.entry(name).shape
    dense = np.zeros((rows, columns), dtype=values.dtype)
    for row in range(rows):
        at = offsets[row]
        for column in range(columns):
            if mask[row, column // 8] >> (column % 8) & 1:
                dense[row, column] = values[at]
                at += 1
    return dense


def _check_inspection(found: Inspection) -> None:
    json.dumps(found.as_dict(), allow_nan=False)
    for tensor in found.tensors:
        assert 0 <= tensor.nonzero <= tensor.size, tensor.name
        assert tensor.bytes >= 0 and tensor.entropy_bits >= 0, tensor.name
