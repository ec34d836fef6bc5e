"""Write a model folder into one compressed file."""

import dataclasses
import hashlib
import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.atomic import replacing_file
from pruneofa.checkpoint.dtypes import DTYPES_BY_NAME
from pruneofa.checkpoint.encoding import EncodedTensor, encode_tensor
from pruneofa.checkpoint.layout import (
    BITMASK,
    BITMASK_INT8,
    DENSE,
    DENSE_INT8,
    FORMS,
    NEWEST_VERSION,
    PACKED,
    PACKED_INT8,
    FileManifest,
    file_section,
    header_section,
)
from pruneofa.checkpoint.manifest import MANIFEST_NAME, Manifest, manifest_text
from pruneofa.checkpoint.model_folder import QUANTIZATION_NAME, ModelFolder
from pruneofa.checkpoint.safetensors_file import Section, storage_order, write_sections
from pruneofa.errors import CheckpointError, ConfigurationError

__all__ = ["CompressionSummary", "Progress", "compress"]

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class CompressionSummary:
    """What `compress` did.

    Attributes:
        path: The file written.
        bytes_written: Its size.
        bytes_weights: Size of the weight files that it holds.
        dense: Number of tensors stored as they are.
        dense_int8: Number of tensors stored as the int8 levels of all their elements.
        bitmask: Number of tensors stored as a bit mask with float (or other) values.
        bitmask_int8: Number of tensors stored as a bit mask with int8 values.
        packed: Number of tensors stored packed, with float (or other) values.
        packed_int8: Number of tensors stored packed, with int8 values.
        quantized_here: Names of the weights that `int8=True` changed (lossy).
        off_grid: Names of the weights that have an int8 scale but do not lie on its grid; stored unchanged as float.
        files: Names of the other files of the folder that went in.
        left_out: Name and bytes of files that are no part of the model: weights for other frameworks, what training
            left.
    """

    path: Path
    bytes_written: int
    bytes_weights: int
    dense: int
    dense_int8: int
    bitmask: int
    bitmask_int8: int
    packed: int
    packed_int8: int
    quantized_here: tuple[str, ...]
    off_grid: tuple[str, ...]
    files: tuple[str, ...]
    left_out: dict[str, int]


def compress(
    model_dir: str | Path,
    output_path: str | Path,
    form: str = "bitmask",
    int8: bool = False,
    encoder_weights: Sequence[str] | None = None,
    pooler_weights: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> CompressionSummary:
    """Write the model folder `model_dir` into the file `output_path`; `decompress` gives its files back byte for byte.

    What is no part of the model is left out (see `checkpoint.leftovers`).

    Args:
        model_dir: Folder with `config.json`, `model.safetensors` (or shards with their index) and other small files.
        output_path: The file to write, usually `*.pofa`. It appears whole or not at all.
        form: How pruned weights are stored: "bitmask" (fast to load) or "packed" (smallest; what takes fewer bytes as a
            bit mask or dense is stored so there too).
        int8: Quantize encoder and pooler weights that have no int8 scale yet, symmetric per row. Lossy: `decompress`
            then gives the rounded values, and a `quantization.safetensors` and `pruneofa.json` that say so.
        encoder_weights: Names of the encoder's Linear weights, for a folder without `pruneofa.json`.
        pooler_weights: The same for the pooler.
        progress: Called as `progress("encode", tensors done, of)`, then `progress("write", bytes done, of)`.

    Raises:
        ConfigurationError: An unknown form.
        CheckpointError: The folder is damaged or incomplete, names are missing or wrong, or the file cannot be written.
    """
    if form not in FORMS:
        raise ConfigurationError(f"form is {form!r}, allowed is {' or '.join(map(repr, FORMS))}")
    output = Path(output_path)
    if output.is_dir():
        raise CheckpointError(
            f"{output}: is a folder; give the name of the file to write, such as {output / 'model.pofa'}"
        )
    folder = ModelFolder(model_dir)
    manifest = folder.weight_names(encoder_weights, pooler_weights)
    encoded = _encode_all(folder, manifest, form, int8, progress)
    new_scales = {item.entry.name: item.new_scale for item in encoded if item.new_scale is not None}
    files = folder.other_files(leave_out=output)
    replaced: dict[str, bytes] = {}
    if new_scales:
        manifest = _quantized_manifest(manifest, encoded)
        replaced[folder.inner + MANIFEST_NAME] = manifest_text(manifest).encode()
        replaced[folder.inner + QUANTIZATION_NAME] = _with_scales(folder, new_scales)
    sections = [section for item in encoded for section in item.sections]
    names = sorted({*files, *replaced})
    sections += [_file_section(file_section(name), replaced.get(name, files.get(name))) for name in names]
    sections += [_file_section(header_section(name), file.header) for name, file in folder.weight_files.items()]
    file_manifest, sections = _sealed(form, encoded, manifest, names, list(folder.weight_files), sections, str(output))
    _write(output, sections, file_manifest, progress)
    encodings = [item.entry.encoding for item in encoded]
    return CompressionSummary(
        path=output,
        bytes_written=output.stat().st_size,
        bytes_weights=sum(file.path.stat().st_size for file in folder.weight_files.values()),
        dense=encodings.count(DENSE),
        dense_int8=encodings.count(DENSE_INT8),
        bitmask=encodings.count(BITMASK),
        bitmask_int8=encodings.count(BITMASK_INT8),
        packed=encodings.count(PACKED),
        packed_int8=encodings.count(PACKED_INT8),
        quantized_here=tuple(new_scales),
        off_grid=tuple(item.entry.name for item in encoded if item.off_grid),
        files=tuple(names),
        left_out=folder.left_out(leave_out=output),
    )


def _encode_all(
    folder: ModelFolder, manifest: Manifest, form: str, int8: bool, progress: Progress | None
) -> list[EncodedTensor]:
    prunable = {*manifest.encoder_weights, *manifest.pooler_weights}
    encoded: list[EncodedTensor] = []
    for name in folder.names:
        item = encode_tensor(folder, name, prunable=name in prunable, quantize=int8, form=form)
        recorded = manifest.sparsity.get(name)
        if recorded is not None and item.zeros < recorded["zeros"]:
            logger.warning(
                "%s: the weight %s holds %d zeros, pruneofa.json recorded %d: it was changed after pruning.",
                folder.path,
                name,
                item.zeros,
                recorded["zeros"],
            )
        if manifest.quantization is not None and name in prunable and folder.scale(name) is None and not int8:
            logger.warning(
                "%s: quantized, but holds no scale for the weight %s; it is stored as float.", folder.path, name
            )
        encoded.append(item)
        if progress is not None:
            progress("encode", len(encoded), len(folder.names))
    return encoded


def _quantized_manifest(manifest: Manifest, encoded: list[EncodedTensor]) -> Manifest:
    """The manifest of a model that was quantized here: rounding may have made zeros of small weights."""
    zeros = {item.entry.name: item.zeros for item in encoded}
    sparsity = {name: {**entry, "zeros": zeros[name]} for name, entry in manifest.sparsity.items()}
    quantization = manifest.quantization or {"weight_granularity": "per_channel", "bits": 8, "activation": None}
    return dataclasses.replace(manifest, sparsity=sparsity, quantization=quantization)


def _with_scales(folder: ModelFolder, scales: dict[str, NDArray[np.float32]]) -> bytes:
    """The bytes of `quantization.safetensors` with the new scales added to what the folder has."""
    sections: list[Section] = []
    metadata: dict[str, str] = {}
    old = folder.quantization
    if old is not None:
        metadata = old.metadata
        sections += [Section(t.name, t.dtype, t.shape, _reading(old.read, t.name)) for t in old.tensors.values()]
    float32 = DTYPES_BY_NAME["float32"]
    sections += [
        Section(f"{name}_scale", float32, s.shape, _reading(scales.__getitem__, name)) for name, s in scales.items()
    ]
    buffer = io.BytesIO()
    write_sections(buffer, storage_order(sections), metadata)
    return buffer.getvalue()


def _reading(read: Callable[[str], NDArray[Any]], name: str) -> Callable[[], NDArray[Any]]:
    return lambda: read(name)


def _file_section(name: str, source: bytes | Path | None) -> Section:
    assert source is not None, name
    if isinstance(source, bytes):
        array = np.frombuffer(source, dtype=np.uint8)
    else:
        try:
            array = np.frombuffer(source.read_bytes(), dtype=np.uint8)
        except OSError as error:
            raise CheckpointError(f"{source}: cannot be read ({error.strerror}); check the file") from None
    return Section(name, DTYPES_BY_NAME["uint8"], array.shape, lambda: array)


def _sealed(
    form: str,
    encoded: list[EncodedTensor],
    manifest: Manifest,
    files: list[str],
    weight_files: list[str],
    sections: list[Section],
    where: str,
) -> tuple[FileManifest, list[Section]]:
    """Order the sections, hash them, and make each one check its hash when it is read again to be written."""
    ordered = storage_order(sections)
    hashes = {section.name: _sha256(section.load()) for section in ordered}

    def checked(section: Section) -> Section:
        def load() -> NDArray[Any]:
            array = section.load()
            if _sha256(array) != hashes[section.name]:
                raise CheckpointError(f"{where}: {section.name!r} changed while it was compressed; start again")
            return array

        return dataclasses.replace(section, load=load)

    tensors = {item.entry.name: item.entry for item in encoded}
    is_first = form == "bitmask" and all(entry.encoding != DENSE_INT8 for entry in tensors.values())
    version = "1" if is_first else NEWEST_VERSION  # older readers go on reading what they know
    file_manifest = FileManifest(form, tensors, manifest, tuple(files), tuple(weight_files), hashes, version)
    file_manifest.sections(where)  # refuses two parts of one name
    return file_manifest, [checked(section) for section in ordered]


def _sha256(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _write(output: Path, sections: list[Section], manifest: FileManifest, progress: Progress | None) -> None:
    try:
        with replacing_file(output) as temporary, temporary.open("wb") as file:
            write_sections(file, sections, manifest.as_metadata(), progress)
    except OSError as error:
        raise CheckpointError(
            f"{output}: cannot be written ({error.strerror or error}); free some space or choose another place. "
            "Nothing was left behind"
        ) from error
