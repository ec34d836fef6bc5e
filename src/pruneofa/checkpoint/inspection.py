"""What a saved model holds: sparsity per tensor, bytes, and the compression ratio, nominal and real."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneofa.checkpoint.dtypes import DTYPES_BY_NAME, count_nonzero
from pruneofa.checkpoint.int8 import grid_integers
from pruneofa.checkpoint.layout import DENSE, INT8_ENCODINGS
from pruneofa.checkpoint.manifest import Manifest
from pruneofa.checkpoint.model_folder import ModelFolder
from pruneofa.checkpoint.packed.entropy import entropy_bits
from pruneofa.checkpoint.reader import CompressedModel, read_pofa
from pruneofa.errors import CheckpointError

__all__ = ["Inspection", "TensorReport", "inspect_model"]


@dataclass(frozen=True)
class TensorReport:
    """One tensor.

    Attributes:
        name: Its name.
        shape: Its sizes.
        size: Elements.
        nonzero: Elements that are not +0.0, by their bits (-0.0 counts).
        bytes: Bytes that it takes in the file, its mask, offsets and scales included.
        encoding: "dense", "dense_int8", "bitmask", "bitmask_int8", "packed" or "packed_int8".
        dtype: Logical type, e.g. "float32".
        role: "encoder", "pooler" or "other".
        bits: 8 where its values are int8 (or have an int8 scale beside them), else the width of its type.
        entropy_bits: Entropy of its positions and values, these as int8 given their scales where they are
            (`checkpoint.entropy`).
        scale_bytes: Bytes of its int8 scales in `bytes`.
    """

    name: str
    shape: tuple[int, ...]
    size: int
    nonzero: int
    bytes: int
    encoding: str
    dtype: str
    role: str
    bits: int
    entropy_bits: float
    scale_bytes: int = 0

    @property
    def sparsity(self) -> float:
        """Share of zeros, 0 for an empty tensor."""
        return _sparsity(self.nonzero, self.size)


@dataclass(frozen=True)
class Inspection:
    """Figures of a model folder or compressed file; `encoder_*` leave the pooler out.

    Attributes:
        path: What was inspected.
        tensors: Each tensor.
        bytes_total: Size in the file system: of the `.pofa` file, or of a folder's weight files (`model*.safetensors`)
            plus `quantization.safetensors`; a folder's configuration and tokenizer are not counted.
    """

    path: Path
    tensors: tuple[TensorReport, ...]
    bytes_total: int

    @property
    def encoder_parameters(self) -> int:
        """Elements of the encoder's Linear weights."""
        return sum(tensor.size for tensor in self._role("encoder"))

    @property
    def encoder_nonzero(self) -> int:
        """Elements of the encoder's Linear weights that are not +0.0."""
        return sum(tensor.nonzero for tensor in self._role("encoder"))

    @property
    def encoder_sparsity(self) -> float:
        """Share of zeros among the encoder's Linear weights."""
        return _sparsity(self.encoder_nonzero, self.encoder_parameters)

    @property
    def pooler_sparsity(self) -> float | None:
        """Share of zeros among the pooler's weights; None without a pooler."""
        pooler = self._role("pooler")
        if not pooler:
            return None
        return _sparsity(sum(tensor.nonzero for tensor in pooler), sum(tensor.size for tensor in pooler))

    @property
    def bytes_encoder(self) -> int:
        """Bytes of the encoder's Linear weights in the file; masks, offsets and scales included."""
        return sum(tensor.bytes for tensor in self._role("encoder"))

    @property
    def entropy_bound_bytes(self) -> float:
        """Entropy of positions and values of the encoder's Linear weights given their scales, tensor by tensor."""
        return sum(tensor.entropy_bits for tensor in self._role("encoder")) / 8

    @property
    def bytes_scales(self) -> int:
        """Bytes of scales in `bytes_encoder`."""
        return sum(tensor.scale_bytes for tensor in self._role("encoder"))

    @property
    def bits(self) -> int:
        """8 where all encoder weights are int8, else the widest type among them."""
        return max((tensor.bits for tensor in self._role("encoder")), default=32)

    @property
    def nominal_ratio(self) -> float | None:
        """The paper's figure, (32 / bits) / (1 - encoder sparsity), which counts no masks; None where infinite."""
        if self.encoder_nonzero == 0:
            return None
        return 32 / self.bits * (self.encoder_parameters / self.encoder_nonzero)

    @property
    def real_ratio(self) -> float | None:
        """Bytes of the encoder's weights as dense float32 over the bytes that they take here."""
        return self.encoder_parameters * 4 / self.bytes_encoder if self.bytes_encoder else None

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "path": str(self.path),
            "encoder_sparsity": self.encoder_sparsity,
            "encoder_parameters": self.encoder_parameters,
            "encoder_nonzero": self.encoder_nonzero,
            "pooler_sparsity": self.pooler_sparsity,
            "bits": self.bits,
            "bytes_encoder": self.bytes_encoder,
            "bytes_scales": self.bytes_scales,
            "entropy_bound_bytes": self.entropy_bound_bytes,
            "bytes_total": self.bytes_total,
            "nominal_ratio": self.nominal_ratio,
            "real_ratio": self.real_ratio,
            "tensors": [
                {
                    "name": tensor.name,
                    "shape": list(tensor.shape),
                    "size": tensor.size,
                    "nonzero": tensor.nonzero,
                    "sparsity": tensor.sparsity,
                    "bytes": tensor.bytes,
                    "entropy_bound_bytes": tensor.entropy_bits / 8,
                    "encoding": tensor.encoding,
                    "dtype": tensor.dtype,
                    "role": tensor.role,
                }
                for tensor in self.tensors
            ],
        }

    def _role(self, role: str) -> list[TensorReport]:
        return [tensor for tensor in self.tensors if tensor.role == role]


def inspect_model(
    path: str | Path, encoder_weights: Sequence[str] | None = None, pooler_weights: Sequence[str] | None = None
) -> Inspection:
    """Count zeros and bytes of a compressed file or a model folder, one tensor in memory at a time.

    Args:
        path: A `.pofa` file or a model folder.
        encoder_weights: Names of the encoder's Linear weights, for a folder without `pruneofa.json`.
        pooler_weights: The same for the pooler.

    Raises:
        CheckpointError: Missing or damaged, or a folder whose encoder weights nobody names.
    """
    path = Path(path)
    if path.is_dir():
        return _inspect_folder(ModelFolder(path), encoder_weights, pooler_weights)
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder; give a .pofa file or a model folder")
    return _inspect_file(read_pofa(path))


def _inspect_folder(
    folder: ModelFolder, encoder_weights: Sequence[str] | None, pooler_weights: Sequence[str] | None
) -> Inspection:
    manifest = folder.weight_names(encoder_weights, pooler_weights)
    reports = []
    for name in folder.names:
        info, scale, weight = folder.info(name), folder.scale(name), folder.tensor(name)
        integers = None if scale is None else grid_integers(weight, scale, info.dtype)
        values, dtype = (weight, info.dtype) if integers is None else (integers, DTYPES_BY_NAME["int8"])
        reports.append(
            TensorReport(
                name=name,
                shape=info.shape,
                size=info.size,
                nonzero=count_nonzero(weight),
                bytes=info.nbytes,
                encoding=DENSE,
                dtype=info.dtype.name,
                role=_role_of(name, manifest),
                bits=8 if scale is not None else 8 * info.dtype.itemsize,
                entropy_bits=entropy_bits(values, dtype, None if integers is None else scale),
            )
        )
    files = [file.path for file in folder.weight_files.values()]
    if folder.quantization is not None:
        files.append(folder.quantization.path)
    return Inspection(folder.path, tuple(reports), sum(file.stat().st_size for file in files))


def _inspect_file(model: CompressedModel) -> Inspection:
    reports = []
    for name in model.names:
        entry = model.entry(name)
        size = math.prod(entry.shape)
        int8 = entry.encoding in INT8_ENCODINGS
        values = model.stored_values(name)
        reports.append(
            TensorReport(
                name=name,
                shape=entry.shape,
                size=size,
                nonzero=count_nonzero(model.scaled(name, values)),
                bytes=sum(model.stored(section).nbytes for section in entry.sections()),
                encoding=entry.encoding,
                dtype=entry.dtype.name,
                role=_role_of(name, model.manifest),
                bits=8 if int8 else 8 * entry.dtype.itemsize,
                entropy_bits=entropy_bits(values, DTYPES_BY_NAME["int8"], model.raw(f"{name}.scale"))
                if int8
                else entropy_bits(values, entry.dtype),
                scale_bytes=model.stored(f"{name}.scale").nbytes if int8 else 0,
            )
        )
    return Inspection(model.path, tuple(reports), model.path.stat().st_size)


def _role_of(name: str, manifest: Manifest) -> str:
    if name in manifest.encoder_weights:
        return "encoder"
    return "pooler" if name in manifest.pooler_weights else "other"


def _sparsity(nonzero: int, size: int) -> float:
    return (size - nonzero) / size if size else 0.0
