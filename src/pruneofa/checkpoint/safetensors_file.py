"""One safetensors file: a strict lazy reader and a streaming, deterministic writer.

The `safetensors` package's numpy face has no bfloat16 and accepts doubled names, so the header is read here and every
number in it checked; the package then has to accept the file as well.
"""

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from pruneofa.checkpoint.dtypes import DTYPES_BY_CODE, DType
from pruneofa.checkpoint.strict_json import parse_json
from pruneofa.errors import CheckpointError

__all__ = [
    "SafetensorsBytes",
    "SafetensorsFile",
    "Section",
    "StoredTensor",
    "build_header",
    "check_shape",
    "parse_header",
    "storage_order",
    "write_sections",
]

MAX_HEADER_BYTES = 64 * 2**20
MAX_DIMENSIONS = 8
MAX_ELEMENTS = 2**48  # far above any model, far below where a 64-bit product could wrap in a reader


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a safetensors header: where its bytes lie (offsets count from the end of the header)."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.end - self.begin

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Section:
    """One tensor to be written: `load` gives an array of `dtype.storage` and `shape`, when its turn comes."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    load: Callable[[], NDArray[Any]]

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return math.prod(self.shape) * self.dtype.itemsize


class SafetensorsFile:
    """A safetensors file whose header has been checked; tensors are read one at a time when asked for.

    Attributes:
        path: The file.
        metadata: Its `__metadata__` texts (empty where it has none).
        tensors: Name to place, in the order of the bytes in the file.
        header: The raw header with its 8 length bytes, exactly as in the file.

    Raises:
        CheckpointError: The file is missing, truncated, or its header is not valid.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            size = self.path.stat().st_size
            with self.path.open("rb") as file:
                self.header = _read_header(file, size, str(self.path))
        except OSError as error:
            raise CheckpointError(
                f"{self.path}: cannot be read ({error.strerror}); check that the file is there and may be read"
            ) from None
        self.metadata, self.tensors = parse_header(self.header[8:], size - len(self.header), str(self.path))
        try:
            with safe_open(self.path, framework="np"):
                pass
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(
                f"{self.path}: not a valid safetensors file ({error}); restore or copy it again"
            ) from None

    def read(self, name: str) -> NDArray[Any]:
        """Read one tensor as a new array of its `dtype.storage` and shape.

        Raises:
            CheckpointError: No such tensor, or the file has become shorter since it was opened.
        """
        if name not in self.tensors:
            raise CheckpointError(f"{self.path}: holds no tensor {name!r}; it holds {len(self.tensors)} others")
        tensor = self.tensors[name]
        try:
            data = np.fromfile(self.path, dtype=np.uint8, count=tensor.nbytes, offset=len(self.header) + tensor.begin)
        except OSError as error:
            raise CheckpointError(f"{self.path}: tensor {name!r} cannot be read ({error.strerror})") from None
        if data.size != tensor.nbytes:
            raise CheckpointError(
                f"{self.path}: tensor {name!r} has {data.size} of {tensor.nbytes} bytes: the file was cut while in "
                "use; copy it again"
            )
        return data.view(tensor.dtype.storage).reshape(tensor.shape)


class SafetensorsBytes:
    """A whole safetensors file in memory, with the face of `SafetensorsFile`.

    Args:
        content: The file's bytes.
        where: What to call it in error messages.

    Raises:
        CheckpointError: Truncated, or its header is not valid.
    """

    def __init__(self, content: bytes, where: str) -> None:
        header = _read_header(io.BytesIO(content), len(content), where)
        self.metadata, self.tensors = parse_header(header[8:], len(content) - len(header), where)
        self._data = memoryview(content)[len(header) :]

    def read(self, name: str) -> NDArray[Any]:
        """One of `tensors`, as a new array of its `dtype.storage` and shape."""
        tensor = self.tensors[name]
        return np.frombuffer(self._data, tensor.dtype.storage, tensor.size, tensor.begin).reshape(tensor.shape).copy()


def parse_header(header: bytes, data_bytes: int | None, where: str) -> tuple[dict[str, str], dict[str, StoredTensor]]:
    """Check a safetensors header (without its 8 length bytes) against the number of data bytes that follow it.

    Args:
        header: The JSON text.
        data_bytes: Bytes after the header; None where they are not at hand.
        where: The file, for error messages.

    Returns:
        The metadata, and the tensors in the order of their bytes.

    Raises:
        CheckpointError: Not JSON, a malformed entry, an unknown type, or bytes that overlap, leave a gap, or do not
            end where the file ends.
    """
    value = parse_json(header, f"{where}: header", MAX_HEADER_BYTES)
    if not isinstance(value, dict):
        raise CheckpointError(f"{where}: header: holds {type(value).__name__}, a JSON object is needed")
    metadata = value.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise CheckpointError(
            f"{where}: header: __metadata__ must be an object of texts; restore or copy the file again"
        )
    tensors = sorted(
        (_parse_entry(name, entry, where) for name, entry in value.items()), key=lambda t: (t.begin, t.end)
    )
    position = 0
    for tensor in tensors:
        if tensor.begin != position:
            raise CheckpointError(
                f"{where}: tensor {tensor.name!r} starts at byte {tensor.begin}, {position} is needed: data overlap or "
                "leave a gap; restore or copy the file again"
            )
        position = tensor.end
    if data_bytes is not None and position != data_bytes:
        raise CheckpointError(
            f"{where}: the header announces {position} bytes of data, the file has {data_bytes}: "
            f"{'truncated' if data_bytes < position else 'something follows the data'}; restore or copy the file again"
        )
    return metadata, {tensor.name: tensor for tensor in tensors}


def build_header(sections: Sequence[Section], metadata: Mapping[str, str]) -> bytes:
    """The header, length bytes included, of a file that holds `sections` in the given order.

    It is padded with spaces so that the data start at a multiple of 8.
    """
    value: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    position = 0
    for section in sections:
        end = position + section.nbytes
        value[section.name] = {
            "dtype": section.dtype.code,
            "shape": list(section.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise CheckpointError(f"the header would have {len(text)} bytes, at most {MAX_HEADER_BYTES} are allowed")
    return len(text).to_bytes(8, "little") + text


def storage_order(sections: Sequence[Section]) -> list[Section]:
    """Widest elements first, then by name: every section lies aligned to its element size, files are reproducible."""
    return sorted(sections, key=lambda section: (-section.dtype.itemsize, section.name))


def write_sections(
    file: BinaryIO,
    sections: Sequence[Section],
    metadata: Mapping[str, str],
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Write a whole safetensors file, one section at a time in memory, in the given order.

    Args:
        file: Opened for writing bytes.
        sections: As they shall lie in the file (`storage_order`).
        metadata: Texts for `__metadata__`.
        progress: Called as `progress("write", bytes done, bytes in all)` after each section.
    """
    file.write(build_header(sections, metadata))
    total = sum(section.nbytes for section in sections)
    done = 0
    for section in sections:
        array = np.ascontiguousarray(section.load(), dtype=section.dtype.storage)
        assert array.nbytes == section.nbytes, section.name
        file.write(array.tobytes())
        done += section.nbytes
        if progress is not None:
            progress("write", done, total)


def _read_header(file: BinaryIO, size: int, where: str) -> bytes:
    prefix = file.read(8)
    if len(prefix) < 8:
        raise CheckpointError(f"{where}: has {size} bytes, a safetensors file has at least 8: truncated; copy it again")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{where}: announces a header of {length} bytes, at most {MAX_HEADER_BYTES} are allowed; "
            "it is damaged or no safetensors file"
        )
    header = file.read(length)
    if len(header) < length:
        raise CheckpointError(
            f"{where}: announces a header of {length} bytes, only {len(header)} follow: truncated; copy it again"
        )
    return prefix + header


def _parse_entry(name: str, entry: Any, where: str) -> StoredTensor:
    def fault(what: str, allowed: str) -> CheckpointError:
        return CheckpointError(
            f"{where}: tensor {name[:200]!r}: {what}, allowed is {allowed}; restore or copy the file again"
        )

    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise fault(f"entry is {entry!r:.120}", "an object with exactly dtype, shape, data_offsets")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES_BY_CODE:
        raise fault(f"dtype is {entry['dtype']!r:.40}", "one of " + ", ".join(DTYPES_BY_CODE))
    dtype = DTYPES_BY_CODE[entry["dtype"]]
    shape = check_shape(entry["shape"])
    if shape is None:
        raise fault(
            f"shape is {entry['shape']!r:.120}", f"at most {MAX_DIMENSIONS} sizes from 0, elements below {MAX_ELEMENTS}"
        )
    offsets = entry["data_offsets"]
    if not (
        isinstance(offsets, list) and len(offsets) == 2 and all(type(item) is int and item >= 0 for item in offsets)
    ):
        raise fault(f"data_offsets are {offsets!r:.80}", "two whole numbers from 0")
    needed = math.prod(shape) * dtype.itemsize
    if offsets[1] - offsets[0] != needed:
        raise fault(f"data_offsets {offsets} span {offsets[1] - offsets[0]} bytes", f"{needed} for shape {list(shape)}")
    return StoredTensor(name, dtype, shape, offsets[0], offsets[1])


def check_shape(value: Any) -> tuple[int, ...] | None:
    """A shape from JSON as a tuple, or None where it is not one or too large to multiply out."""
    if not isinstance(value, list) or len(value) > MAX_DIMENSIONS:
        return None
    if not all(type(item) is int and 0 <= item < MAX_ELEMENTS for item in value):
        return None
    # Sizes of 0 count as 1, so that [2**40, 2**40, 0] is refused too: readers multiply in any order.
    return tuple(value) if math.prod(max(item, 1) for item in value) < MAX_ELEMENTS else None
