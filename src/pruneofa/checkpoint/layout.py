"""What a `.pofa` file says about itself: the manifest in its metadata, and which sections follow from it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pruneofa.checkpoint.dtypes import DTYPES_BY_CODE, DTYPES_BY_NAME, DType
from pruneofa.checkpoint.file_names import check_file_names
from pruneofa.checkpoint.manifest import Manifest, parse_manifest
from pruneofa.checkpoint.safetensors_file import check_shape
from pruneofa.checkpoint.strict_json import parse_json
from pruneofa.errors import CheckpointError

__all__ = [
    "BITMASK",
    "BITMASK_INT8",
    "DENSE",
    "DENSE_INT8",
    "FORMS",
    "INT8_ENCODINGS",
    "PACKED",
    "PACKED_INT8",
    "FileManifest",
    "SectionSpec",
    "TensorEntry",
    "can_be_packed",
    "file_section",
    "header_section",
]

FILE_FORMAT = "pofa"
FORMS = ("bitmask", "packed")

DENSE = "dense"
DENSE_INT8 = "dense_int8"
BITMASK = "bitmask"
BITMASK_INT8 = "bitmask_int8"
PACKED = "packed"
PACKED_INT8 = "packed_int8"
INT8_ENCODINGS = (DENSE_INT8, BITMASK_INT8, PACKED_INT8)
NEWEST_VERSION = "3"
# Version -> form -> the encodings that it may use.
FILE_FORMAT_VERSIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "1": {"bitmask": (DENSE, BITMASK, BITMASK_INT8)},
    "2": {"packed": (DENSE, BITMASK, BITMASK_INT8, PACKED, PACKED_INT8)},
    NEWEST_VERSION: {
        "bitmask": (DENSE, DENSE_INT8, BITMASK, BITMASK_INT8),
        "packed": (DENSE, DENSE_INT8, BITMASK, BITMASK_INT8, PACKED, PACKED_INT8),
    },
}

MAX_FILE_MANIFEST_BYTES = 32 * 2**20
MAX_PACKED_ITEMSIZE = 4
_METADATA_KEYS = ("format", "format_version", "manifest", "manifest_sha256")
_MANIFEST_KEYS = ("form", "tensors", "model", "files", "weight_files", "sha256")


@dataclass(frozen=True)
class SectionSpec:
    """What a stored section must be: its type, and its shape with None where only the content fixes a size.

    Attributes:
        dtype: Type as stored.
        shapes: The shapes allowed; None stands for any size.
    """

    dtype: DType
    shapes: tuple[tuple[int | None, ...], ...]

    def allows(self, shape: tuple[int, ...]) -> bool:
        """Whether a section of this shape fits."""
        return any(
            len(shape) == len(allowed) and all(want in (None, got) for want, got in zip(allowed, shape, strict=True))
            for allowed in self.shapes
        )


@dataclass(frozen=True)
class TensorEntry:
    """One logical tensor of the model and how it is stored."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    encoding: str

    def sections(self) -> dict[str, SectionSpec]:
        """Name and specification of each stored section of this tensor."""
        stored = DTYPES_BY_CODE[self.dtype.stored_code]
        if self.encoding == DENSE:
            return {self.name: SectionSpec(stored, (self.shape,))}
        rows, columns = self.shape
        int8 = self.encoding in INT8_ENCODINGS
        if self.encoding == DENSE_INT8:
            result = {f"{self.name}.levels": SectionSpec(DTYPES_BY_NAME["int8"], (self.shape,))}
        elif self.encoding in (PACKED, PACKED_INT8):
            result = {
                f"{self.name}.packed_tables": SectionSpec(DTYPES_BY_NAME["uint8"], ((None,),)),
                f"{self.name}.packed_stream": SectionSpec(DTYPES_BY_NAME["uint16"], ((None,),)),
            }
            if not int8 and self.dtype.itemsize > 1:
                result[f"{self.name}.packed_planes"] = SectionSpec(DTYPES_BY_NAME["uint8"], ((None, None),))
        else:
            result = {
                f"{self.name}.shape": SectionSpec(DTYPES_BY_NAME["int64"], ((2,),)),
                f"{self.name}.compressed": SectionSpec(DTYPES_BY_NAME["int8"] if int8 else stored, ((None,),)),
                f"{self.name}.bitmask": SectionSpec(DTYPES_BY_NAME["uint8"], ((rows, (columns + 7) // 8),)),
                f"{self.name}.row_offsets": SectionSpec(DTYPES_BY_NAME["int64"], ((rows,),)),
            }
        if int8:
            result[f"{self.name}.scale"] = SectionSpec(DTYPES_BY_NAME["float32"], ((1,), (rows,)))
        return result


def can_be_packed(dtype: DType, shape: tuple[int, ...]) -> bool:
    """Whether the packed form has an encoding for such a tensor."""
    return len(shape) == 2 and min(shape) > 0 and dtype.itemsize <= MAX_PACKED_ITEMSIZE


def file_section(name: str) -> str:
    """Section that holds the bytes of an embedded file."""
    return f"file:{name}"


def header_section(name: str) -> str:
    """Section that holds the original header of a weight file, so that the file can be written back byte for byte."""
    return f"header:{name}"


@dataclass(frozen=True)
class FileManifest:
    """The JSON manifest of a `.pofa` file.

    Attributes:
        form: How pruned weights are stored; one of `FORMS`.
        tensors: Logical tensors by name.
        model: The model's manifest (`pruneofa.json`), or one made from the names that the caller gave.
        files: Names of the embedded files.
        weight_files: Names of the safetensors files that the tensors came from.
        sha256: Stored section to the SHA-256 of its bytes, in lower-case hexadecimal.
        version: Of the file's format; a file is written in version 1 where that has all that it uses, else in 3.
    """

    form: str
    tensors: dict[str, TensorEntry]
    model: Manifest
    files: tuple[str, ...]
    weight_files: tuple[str, ...]
    sha256: dict[str, str]
    version: str = NEWEST_VERSION

    def sections(self, where: str) -> dict[str, SectionSpec]:
        """All sections that the file must hold, and none other.

        Raises:
            CheckpointError: Two things would need the same section name.
        """
        result: dict[str, SectionSpec] = {}
        groups = [entry.sections() for entry in self.tensors.values()]
        any_bytes = SectionSpec(DTYPES_BY_NAME["uint8"], ((None,),))
        groups.append({file_section(name): any_bytes for name in self.files})
        groups.append({header_section(name): any_bytes for name in self.weight_files})
        for group in groups:
            for name, spec in group.items():
                if name in result or name == "__metadata__":
                    raise CheckpointError(
                        f"{where}: two parts need the section name {name!r}; rename the tensor or file"
                    )
                result[name] = spec
        return result

    def as_metadata(self) -> dict[str, str]:
        """The `__metadata__` texts of the file."""
        value = {
            "form": self.form,
            "tensors": {
                entry.name: {"dtype": entry.dtype.name, "shape": list(entry.shape), "encoding": entry.encoding}
                for entry in self.tensors.values()
            },
            "model": self.model.as_dict(),
            "files": list(self.files),
            "weight_files": list(self.weight_files),
            "sha256": self.sha256,
        }
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return {
            "format": FILE_FORMAT,
            "format_version": self.version,
            "manifest": text,
            "manifest_sha256": hashlib.sha256(text.encode("utf-8")).hexdigest(),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], where: str) -> "FileManifest":
        """Parse and check the metadata of a file.

        Raises:
            CheckpointError: Not a `.pofa` file, another version, a manifest that is damaged or malformed.
        """
        if metadata.get("format") != FILE_FORMAT:
            raise CheckpointError(
                f"{where}: metadata 'format' is {metadata.get('format')!r:.40}, {FILE_FORMAT!r} is needed: no .pofa "
                "file; make one with `pruneofa compress`"
            )
        version = metadata.get("format_version")
        if version is None or version not in FILE_FORMAT_VERSIONS:
            raise CheckpointError(
                f"{where}: format_version is {version!r:.40}, this pruneofa reads "
                f"{', '.join(map(repr, FILE_FORMAT_VERSIONS))}; use the version of pruneofa that wrote it, or a newer "
                "one"
            )
        _check_keys(metadata, _METADATA_KEYS, f"{where}: metadata")
        text = metadata["manifest"].encode("utf-8", "surrogatepass")
        if hashlib.sha256(text).hexdigest() != metadata["manifest_sha256"]:
            raise CheckpointError(f"{where}: the manifest does not match manifest_sha256: damaged; copy the file again")
        value = parse_json(text, f"{where}: manifest", MAX_FILE_MANIFEST_BYTES)
        return cls._from_json(value, f"{where}: manifest", version)

    @classmethod
    def _from_json(cls, value: Any, where: str, version: str) -> "FileManifest":
        _check_keys(value, _MANIFEST_KEYS, where)
        if value["form"] not in FORMS:
            raise CheckpointError(
                f"{where}: form is {value['form']!r:.40}, this pruneofa reads {', '.join(FORMS)}; use a newer pruneofa"
            )
        encodings = FILE_FORMAT_VERSIONS[version].get(value["form"])
        if encodings is None:
            needed = [known for known, forms in FILE_FORMAT_VERSIONS.items() if value["form"] in forms]
            raise CheckpointError(
                f"{where}: form is {value['form']!r} in a file of format_version {version!r}, "
                f"{' or '.join(map(repr, needed))} is needed; do not trust this file"
            )
        if not isinstance(value["tensors"], dict):
            raise CheckpointError(f"{where}: tensors is no object of name -> entry; compress the model again")
        tensors = {name: _parse_tensor(name, entry, where, encodings) for name, entry in value["tensors"].items()}
        for key in ("files", "weight_files"):
            if not isinstance(value[key], list) or not all(isinstance(name, str) for name in value[key]):
                raise CheckpointError(f"{where}: {key} is {value[key]!r:.80}, allowed is a list of file names")
        check_file_names([*value["files"], *value["weight_files"]], where)
        hashes = value["sha256"]
        if not isinstance(hashes, dict) or not all(isinstance(item, str) for item in hashes.values()):
            raise CheckpointError(f"{where}: sha256 is no object of section -> hash; compress the model again")
        model = parse_manifest(value["model"], f"{where}: model")
        for name in (*model.encoder_weights, *model.pooler_weights, *model.sparsity):
            if name not in tensors:
                raise CheckpointError(f"{where}: model names the weight {name!r}, which the file does not hold")
        return cls(value["form"], tensors, model, tuple(value["files"]), tuple(value["weight_files"]), hashes, version)


def _check_keys(value: Any, allowed: tuple[str, ...], where: str) -> None:
    if not isinstance(value, Mapping) or set(value) != set(allowed):
        found = sorted(value)[:10] if isinstance(value, Mapping) else value
        raise CheckpointError(
            f"{where}: holds {found!r:.200}, exactly {', '.join(allowed)} are allowed; compress the model again"
        )


def _parse_tensor(name: str, entry: Any, where: str, encodings: tuple[str, ...]) -> TensorEntry:
    where = f"{where}: tensor {name[:200]!r}"
    _check_keys(entry, ("dtype", "shape", "encoding"), where)
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES_BY_NAME:
        raise CheckpointError(
            f"{where}: dtype is {entry['dtype']!r:.40}, allowed is one of {', '.join(DTYPES_BY_NAME)}"
        )
    dtype = DTYPES_BY_NAME[entry["dtype"]]
    shape = check_shape(entry["shape"])
    if shape is None:
        raise CheckpointError(
            f"{where}: shape is {entry['shape']!r:.120}, which is no shape or too large; do not trust it"
        )
    encoding = entry["encoding"]
    if encoding not in encodings:
        raise CheckpointError(f"{where}: encoding is {encoding!r:.40}, allowed is one of {', '.join(encodings)}")
    if encoding != DENSE and len(shape) != 2:
        raise CheckpointError(f"{where}: encoding {encoding} with shape {list(shape)}, allowed are matrices [R, C]")
    if encoding in INT8_ENCODINGS and not dtype.is_float:
        raise CheckpointError(
            f"{where}: encoding {encoding} with dtype {dtype.name}, allowed are float32, float16, bfloat16"
        )
    if encoding in (PACKED, PACKED_INT8) and not can_be_packed(dtype, shape):
        raise CheckpointError(
            f"{where}: encoding {encoding} with dtype {dtype.name} and shape {list(shape)}, allowed are matrices with "
            f"elements, of types of up to {MAX_PACKED_ITEMSIZE} bytes"
        )
    return TensorEntry(name, dtype, shape, encoding)
