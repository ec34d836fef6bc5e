"""Read a compressed file strictly: nothing is believed that the file's own bytes do not bear out."""

import hashlib
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.bitmask import BitmaskMatrix
from pruneofa.checkpoint.decoding import decode_bitmask, decode_packed
from pruneofa.checkpoint.dtypes import DTYPES_BY_NAME
from pruneofa.checkpoint.int8 import dequantize, is_usable_scale
from pruneofa.checkpoint.layout import (
    DENSE,
    DENSE_INT8,
    INT8_ENCODINGS,
    NEWEST_VERSION,
    PACKED,
    PACKED_INT8,
    FileManifest,
    SectionSpec,
    TensorEntry,
    file_section,
    header_section,
)
from pruneofa.checkpoint.manifest import Manifest
from pruneofa.checkpoint.packed.matrix import MAX_ELEMENTS_PER_BYTE, PackedMatrix
from pruneofa.checkpoint.safetensors_file import SafetensorsFile, StoredTensor, parse_header
from pruneofa.errors import CheckpointError

__all__ = ["DEFAULT_MAX_TENSOR_BYTES", "CompressedModel", "read_pofa"]

DEFAULT_MAX_TENSOR_BYTES = 4 * 2**30


def read_pofa(
    path: str | Path, *, verify: bool = True, max_tensor_bytes: int = DEFAULT_MAX_TENSOR_BYTES
) -> "CompressedModel":
    """Open a compressed file. Its structure is checked at once, the content of each tensor when that is read.

    Args:
        path: The `.pofa` file.
        verify: Compare each section with its SHA-256 when it is read.
        max_tensor_bytes: The largest dense tensor that will be made. A bit mask justifies at most 8 elements per byte
            of the file, the packed form 4096, so a file of n bytes never expands to more than 64 n or 16384 n; this is
            a cap besides.

    Raises:
        CheckpointError: Missing, truncated, damaged or hostile; the text names the file, the part, and the remedy.
    """
    return CompressedModel(path, verify=verify, max_tensor_bytes=max_tensor_bytes)


class CompressedModel:
    """An opened compressed file; made by `read_pofa`.

    Attributes:
        path: The file.
        manifest: The model's manifest: stage, encoder weights, sparsity, quantization.
        form: How pruned weights are stored, e.g. `"bitmask"`.
        names: Names of the model's tensors, in the order of the original weight files.
        files: Names of the embedded files.
        weight_files: Names of the safetensors files that the tensors came from.
    """

    def __init__(self, path: str | Path, *, verify: bool, max_tensor_bytes: int) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise CheckpointError(
                f"{self.path}: is a folder, a .pofa file is needed; make one with `pruneofa compress`"
            )
        self._verify = verify
        self._file = SafetensorsFile(self.path)
        contents = FileManifest.from_metadata(self._file.metadata, str(self.path))
        self._contents = contents
        self.manifest: Manifest = contents.model
        self.form = contents.form
        self.names: tuple[str, ...] = tuple(contents.tensors)
        self.files = contents.files
        self.weight_files = contents.weight_files
        self._specs = contents.sections(str(self.path))
        self._check_sections()
        self._check_sizes(max_tensor_bytes)

    def entry(self, name: str) -> TensorEntry:
        """Logical type, shape and encoding of a tensor.

        Raises:
            CheckpointError: The file holds no such tensor.
        """
        if name not in self._contents.tensors:
            raise CheckpointError(f"{self.path}: holds no tensor {name!r}; `pruneofa inspect` lists its tensors")
        return self._contents.tensors[name]

    def stored(self, section: str) -> StoredTensor:
        """Place and shape of a stored section, such as `"X.compressed"`, without reading it.

        Raises:
            CheckpointError: The file holds no such section.
        """
        if section not in self._file.tensors:
            raise CheckpointError(f"{self.path}: holds no section {section!r}")
        return self._file.tensors[section]

    def raw(self, section: str) -> NDArray[Any]:
        """Read one stored section, such as `"X.bitmask"`, as a new array.

        Raises:
            CheckpointError: No such section, or its bytes do not match its SHA-256.
        """
        self.stored(section)
        array = self._file.read(section)
        if (
            self._verify
            and hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest() != self._contents.sha256[section]
        ):
            raise CheckpointError(
                f"{self.path}: section {section!r} does not match the SHA-256 in the manifest "
                f"({self._contents.sha256[section][:12]}...): damaged; copy or compress it again"
            )
        return array

    def tensor(self, name: str) -> NDArray[Any]:
        """Read one tensor, dense, as a new array of its logical type; bfloat16 as uint16 bits, 8-bit floats as uint8.

        Raises:
            CheckpointError: No such tensor, or its parts do not agree with each other or with their hashes.
        """
        return self.scaled(name, self.stored_values(name))

    def scaled(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """The tensor that its `stored_values` stand for: they times their scale, or as they are where there is none.

        Raises:
            CheckpointError: No such tensor, or a scale that is none or damaged.
        """
        entry = self.entry(name)
        if entry.encoding not in INT8_ENCODINGS:
            return values
        return dequantize(values, self._scale(name), entry.dtype)

    def stored_values(self, name: str) -> NDArray[Any]:
        """Read one tensor, dense, before any scale is applied: int8 where its encoding is int8, else as `tensor`.

        Raises:
            CheckpointError: No such tensor, or its parts do not agree with each other or with their hashes.
        """
        entry = self.entry(name)
        if entry.encoding == DENSE:
            return self.raw(name)
        if entry.encoding == DENSE_INT8:
            return self.raw(f"{name}.levels")
        where = f"{self.path}: tensor {name!r}"
        rows, columns = entry.shape
        if entry.encoding in (PACKED, PACKED_INT8):
            return self._packed_values(entry, where)
        shape = self.raw(f"{name}.shape").tolist()
        if shape != [rows, columns]:
            raise CheckpointError(
                f"{where}: section shape holds {shape}, the manifest {[rows, columns]}; do not trust it"
            )
        encoded = BitmaskMatrix(
            (rows, columns),
            self.raw(f"{name}.compressed"),
            self.raw(f"{name}.bitmask"),
            self.raw(f"{name}.row_offsets"),
        )
        dense, _ = decode_bitmask(encoded, where)
        return dense

    def _packed_values(self, entry: TensorEntry, where: str) -> NDArray[Any]:
        int8 = entry.encoding == PACKED_INT8
        planes = f"{entry.name}.packed_planes"
        rows, columns = entry.shape
        scale = self._scale(entry.name) if int8 and self._contents.version == NEWEST_VERSION else None
        encoded = PackedMatrix(
            self.raw(f"{entry.name}.packed_tables"),
            self.raw(f"{entry.name}.packed_stream"),
            self.raw(planes) if planes in entry.sections() else None,
            scale if scale is not None and scale.size == rows else None,
        )
        return decode_packed(encoded, (rows, columns), DTYPES_BY_NAME["int8"] if int8 else entry.dtype, where)

    def _scale(self, name: str) -> NDArray[np.float32]:
        scale = self.raw(f"{name}.scale")
        if not is_usable_scale(scale):
            raise CheckpointError(
                f"{self.path}: tensor {name!r}: scale holds a value that is not finite and above 0; compress the model "
                "again"
            )
        return scale

    def file(self, name: str) -> bytes:
        """Read one embedded file.

        Raises:
            CheckpointError: No such file, or its bytes do not match their SHA-256.
        """
        if name not in self.files:
            raise CheckpointError(f"{self.path}: embeds no file {name!r}; it has {', '.join(self.files) or 'none'}")
        return self.raw(file_section(name)).tobytes()

    def weight_headers(self) -> dict[str, tuple[bytes, tuple[str, ...]]]:
        """For each weight file its original header (length bytes included) and its tensors in the order of their bytes.

        Raises:
            CheckpointError: A header is malformed, or together they do not hold exactly the tensors of this file.
        """
        result: dict[str, tuple[bytes, tuple[str, ...]]] = {}
        missing = set(self.names)
        for file_name in self.weight_files:
            header = self.raw(header_section(file_name)).tobytes()
            where = f"{self.path}: section {header_section(file_name)!r}"
            if len(header) < 8 or int.from_bytes(header[:8], "little") != len(header) - 8:
                raise CheckpointError(
                    f"{where}: its first 8 bytes do not give the length of the rest; do not trust this file"
                )
            _, tensors = parse_header(header[8:], None, where)
            for name, tensor in tensors.items():
                entry = self._contents.tensors.get(name)
                if entry is None or name not in missing or (entry.dtype, entry.shape) != (tensor.dtype, tensor.shape):
                    raise CheckpointError(
                        f"{where}: its tensor {name!r} ({tensor.dtype.name} {list(tensor.shape)}) is not in the "
                        "manifest so, or is named twice; do not trust this file"
                    )
                missing.remove(name)
            result[file_name] = (header, tuple(tensors))
        if missing:
            raise CheckpointError(
                f"{self.path}: no weight file's header holds the tensor {min(missing)!r}; do not trust this file"
            )
        return result

    def original_files(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """The files that the model's folder had: name, and the file's bytes in pieces, a tensor at a time in memory.

        The headers of the weight files are checked before the first is given.

        Raises:
            CheckpointError: As `weight_headers`, `tensor` and `file`.
        """
        for file_name, (header, names) in self.weight_headers().items():
            tensors = (np.ascontiguousarray(self.tensor(name)).tobytes() for name in names)
            yield file_name, itertools.chain((header,), tensors)
        for file_name in self.files:
            yield file_name, iter((self.file(file_name),))

    def verify(self) -> None:
        """Read and check everything in the file.

        Raises:
            CheckpointError: The first fault found.
        """
        for name in self.names:
            self.tensor(name)
        for name in self.files:
            self.file(name)
        self.weight_headers()

    def _check_sections(self) -> None:
        present, hashes = self._file.tensors, self._contents.sha256
        remedy = "copy or compress the file again"
        for problem, names in (
            ("is missing", set(self._specs) - set(present)),
            ("is not in the manifest", set(present) - set(self._specs)),
            ("has no SHA-256 in the manifest", set(self._specs) - set(hashes)),
            ("has a SHA-256 but is not in the manifest", set(hashes) - set(self._specs)),
        ):
            if names:
                raise CheckpointError(f"{self.path}: section {min(names)[:200]!r} {problem}; {remedy}")
        for name, spec in self._specs.items():
            self._check_section(present[name], spec, remedy)
            if len(hashes[name]) != 64 or not set(hashes[name]) <= set("0123456789abcdef"):
                raise CheckpointError(
                    f"{self.path}: section {name!r} has the SHA-256 {hashes[name]!r:.80}, 64 lower-case hexadecimal "
                    f"digits are needed; {remedy}"
                )

    def _check_section(self, found: StoredTensor, spec: SectionSpec, remedy: str) -> None:
        if found.dtype != spec.dtype:
            raise CheckpointError(
                f"{self.path}: section {found.name!r} is {found.dtype.name}, {spec.dtype.name} is needed; {remedy}"
            )
        if not spec.allows(found.shape):
            allowed = " or ".join(str(["any" if size is None else size for size in shape]) for shape in spec.shapes)
            raise CheckpointError(
                f"{self.path}: section {found.name!r} has shape {list(found.shape)}, {allowed} is needed; {remedy}"
            )

    def _check_sizes(self, max_tensor_bytes: int) -> None:
        for entry in self._contents.tensors.values():
            size = math.prod(entry.shape)
            if size * entry.dtype.itemsize > max_tensor_bytes:
                raise CheckpointError(
                    f"{self.path}: tensor {entry.name!r} of shape {list(entry.shape)} would take "
                    f"{size * entry.dtype.itemsize} bytes, allowed are {max_tensor_bytes}; pass a larger "
                    "max_tensor_bytes if the file can be trusted"
                )
            if entry.encoding in (PACKED, PACKED_INT8):
                stored = sum(self._file.tensors[section].nbytes for section in entry.sections())
                if size > MAX_ELEMENTS_PER_BYTE * stored:
                    raise CheckpointError(
                        f"{self.path}: tensor {entry.name!r} packs {size} elements into {stored} bytes, allowed are "
                        f"{MAX_ELEMENTS_PER_BYTE} to a byte; do not trust this file"
                    )
        for name, recorded in self.manifest.sparsity.items():
            if recorded["size"] != math.prod(self._contents.tensors[name].shape):
                raise CheckpointError(
                    f"{self.path}: the manifest says {name!r} has {recorded['size']} elements, its shape "
                    f"{list(self._contents.tensors[name].shape)}; do not trust this file"
                )
