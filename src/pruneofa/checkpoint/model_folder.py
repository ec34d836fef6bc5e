"""A saved model folder: its weight file or shards, its int8 scales, and the other files beside them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.encoder_place import CONFIG_NAME, MODULES_NAME, encoder_place
from pruneofa.checkpoint.file_names import check_file_names
from pruneofa.checkpoint.leftovers import leftovers
from pruneofa.checkpoint.manifest import Manifest, read_manifest
from pruneofa.checkpoint.safetensors_file import SafetensorsFile, StoredTensor
from pruneofa.checkpoint.strict_json import parse_json
from pruneofa.errors import CheckpointError

__all__ = ["INDEX_NAME", "QUANTIZATION_NAME", "WEIGHTS_NAME", "ModelFolder", "read_beside"]

WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
QUANTIZATION_NAME = "quantization.safetensors"
MAX_INDEX_BYTES = 64 * 2**20
MAX_EMBEDDED_BYTES = 64 * 2**20


def read_beside(folder: Path, name: str, limit: int = MAX_EMBEDDED_BYTES) -> bytes | None:
    """Content of a file beside a folder's weights; None where there is none of that name.

    Raises:
        CheckpointError: It has more than `limit` bytes, or can't be read.
    """
    path = folder / name
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); check the file") from None
    if len(content) > limit:
        raise CheckpointError(f"{path}: has more than {limit} bytes, which no file beside the weights needs")
    return content


class ModelFolder:
    """A folder with `config.json` and `model.safetensors` (or shards with their index); headers are read, tensors not.

    Attributes:
        path: The folder.
        inner: Where in it the encoder lies: "", or as "0_Transformer/".
        encoder_path: That folder.
        manifest: Its `pruneofa.json`, None where there is none.
        weight_files: File name within the folder to opened file, in order of name.
        quantization: The opened `quantization.safetensors`, None where there is none.

    Raises:
        CheckpointError: The folder or a file of it is missing, damaged or inconsistent.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise CheckpointError(
                f"{self.path}: no such folder; give the folder that holds config.json and {WEIGHTS_NAME}"
            )
        modules = self.path / MODULES_NAME
        self.inner = encoder_place(
            (self.path / CONFIG_NAME).exists(), modules.read_bytes() if modules.is_file() else None, str(self.path)
        )
        self.encoder_path = self.path / self.inner
        self.manifest = read_manifest(self.encoder_path)
        self.weight_files = {self.inner + name: file for name, file in self._open_weights().items()}
        self._owner: dict[str, SafetensorsFile] = {}
        for file in self.weight_files.values():
            for name in file.tensors:
                if name in self._owner:
                    raise CheckpointError(
                        f"{file.path}: tensor {name!r} is in {self._owner[name].path.name} too; save the model again"
                    )
                self._owner[name] = file
        scales = self.encoder_path / QUANTIZATION_NAME
        self.quantization = SafetensorsFile(scales) if scales.exists() else None

    @property
    def names(self) -> Mapping[str, SafetensorsFile]:
        """Names of all weights, in the order of the files, each with the file that holds it."""
        return self._owner

    def info(self, name: str) -> StoredTensor:
        """Type, shape and size of one weight."""
        return self._owner[name].tensors[name]

    def tensor(self, name: str) -> NDArray[Any]:
        """Read one weight (in its `dtype.storage`)."""
        return self._owner[name].read(name)

    def scale(self, name: str) -> NDArray[np.float32] | None:
        """The int8 scale of the weight `name`, float32 [R] or [1]; None where it is not quantized.

        Raises:
            CheckpointError: The scale has another type or shape.
        """
        key = f"{name}_scale"
        if self.quantization is None or not name.endswith(".weight") or key not in self.quantization.tensors:
            return None
        found, shape = self.quantization.tensors[key], self.info(name).shape
        if found.dtype.name != "float32" or len(shape) != 2 or found.shape not in ((1,), (shape[0],)):
            raise CheckpointError(
                f"{self.quantization.path}: tensor {key!r} is {found.dtype.name} {list(found.shape)} for a weight of "
                f"shape {list(shape)}, allowed is float32 [{shape[0] if shape else 1}] or [1]; quantize the model again"
            )
        return self.quantization.read(key)

    def weight_names(
        self, encoder_weights: Sequence[str] | None = None, pooler_weights: Sequence[str] | None = None
    ) -> Manifest:
        """The manifest of the folder or, where it has none, one made from the names given.

        Raises:
            CheckpointError: Neither is there, or a name is not among the weights.
        """
        manifest = self.manifest
        if manifest is None:
            if encoder_weights is None:
                raise CheckpointError(
                    f"{self.path}: has no pruneofa.json, so which weights belong to the encoder is unknown; save the "
                    "model with a manifest or pass encoder_weights (and pooler_weights)"
                )
            manifest = Manifest(
                stage="unknown", encoder_weights=tuple(encoder_weights), pooler_weights=tuple(pooler_weights or ())
            )
        known = self._owner.keys()
        unknown = [
            name
            for name in (*manifest.encoder_weights, *manifest.pooler_weights, *manifest.sparsity)
            if name not in known
        ]
        if unknown:
            raise CheckpointError(
                f"{self.path}: {'pruneofa.json' if self.manifest else 'the caller'} names the weight {unknown[0]!r} "
                f"({len(unknown)} such), which the weight files do not hold; write the manifest for this model"
            )
        for name, entry in manifest.sparsity.items():
            if entry["size"] != self.info(name).size:
                raise CheckpointError(
                    f"{self.path}: pruneofa.json says {name!r} has {entry['size']} elements, the weight file "
                    f"{self.info(name).size}; write the manifest for this model"
                )
        return manifest

    def other_files(self, leave_out: Path | None = None) -> dict[str, Path]:
        """All files of the model but its weight files: name inside the folder to path.

        Hidden subfolders are left out, and so is what is no part of the model (see `checkpoint.leftovers`).

        Args:
            leave_out: A file that is not counted even if it lies here (the output).

        Raises:
            CheckpointError: A file is too large or no plain file, a name is not portable, a subfolder is a link.
        """
        result = self._all_files(leave_out)
        for name in leftovers(result, self.weight_files, self.inner):
            result.pop(name)
        for path in result.values():
            if not path.is_file():
                raise CheckpointError(f"{path}: is no plain file; remove it from the model folder")
            if path.stat().st_size > MAX_EMBEDDED_BYTES:
                raise CheckpointError(
                    f"{path}: has {path.stat().st_size} bytes, files beside the weights may have {MAX_EMBEDDED_BYTES}; "
                    "move it out of the model folder"
                )
        check_file_names([*result, *self.weight_files], str(self.path))
        return result

    def left_out(self, leave_out: Path | None = None) -> dict[str, int]:
        """Files of the folder that are no part of the model: name to bytes."""
        files = self._all_files(leave_out)
        return {
            name: files[name].stat().st_size
            for name in leftovers(files, self.weight_files, self.inner)
            if files[name].is_file()
        }

    def _all_files(self, leave_out: Path | None) -> dict[str, Path]:
        result: dict[str, Path] = {}
        for folder, subfolders, names in os.walk(self.path):
            for name in subfolders:
                if (Path(folder) / name).is_symlink():
                    raise CheckpointError(
                        f"{Path(folder) / name}: is a link to a folder; copy the folder here or remove it"
                    )
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            for name in sorted(names):
                path = Path(folder) / name
                if leave_out is None or not _same_file(path, leave_out):
                    result[path.relative_to(self.path).as_posix()] = path
        for name in self.weight_files:
            result.pop(name, None)
        return result

    def _open_weights(self) -> dict[str, SafetensorsFile]:
        single, index = self.encoder_path / WEIGHTS_NAME, self.encoder_path / INDEX_NAME
        if single.exists():
            return {WEIGHTS_NAME: SafetensorsFile(single)}
        if not index.exists():
            raise CheckpointError(
                f"{self.encoder_path}: holds neither {WEIGHTS_NAME} nor {INDEX_NAME}; save the model there with "
                "save_pretrained"
            )
        return self._open_shards(index)

    def _open_shards(self, index: Path) -> dict[str, SafetensorsFile]:
        try:
            with index.open("rb") as file:
                value = parse_json(file.read(MAX_INDEX_BYTES + 1), str(index), MAX_INDEX_BYTES)
        except OSError as error:
            raise CheckpointError(f"{index}: cannot be read ({error.strerror}); check the file") from None
        weight_map = value.get("weight_map") if isinstance(value, dict) else None
        if (
            not isinstance(weight_map, dict)
            or not weight_map
            or not all(isinstance(n, str) for n in weight_map.values())
        ):
            raise CheckpointError(f"{index}: has no weight_map of tensor name -> shard; save the model again")
        shards = sorted(set(weight_map.values()))
        check_file_names(shards, str(index))
        files: dict[str, SafetensorsFile] = {}
        for shard in shards:
            if not (self.encoder_path / shard).exists():
                raise CheckpointError(
                    f"{index}: names the shard {shard!r}, which is not there; copy it into the folder"
                )
            files[shard] = SafetensorsFile(self.encoder_path / shard)
            mapped = {name for name, owner in weight_map.items() if owner == shard}
            for name in sorted(mapped ^ set(files[shard].tensors))[:1]:
                held = "holds" if name in files[shard].tensors else "does not hold"
                raise CheckpointError(
                    f"{index}: the shard {shard!r} {held} the tensor {name!r}, the index says otherwise; "
                    "save the model again"
                )
        return files


def _same_file(first: Path, second: Path) -> bool:
    return first.absolute() == second.absolute() or (second.exists() and first.exists() and first.samefile(second))
