"""One face for the two forms of a saved model: a `.pofa` file and a model folder."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.dtypes import DType, to_float32
from pruneofa.checkpoint.int8 import grid_integers
from pruneofa.checkpoint.layout import INT8_ENCODINGS
from pruneofa.checkpoint.model_folder import ModelFolder
from pruneofa.checkpoint.reader import CompressedModel, read_pofa
from pruneofa.errors import CheckpointError
from pruneofa.folder.files import FolderFiles, encoder_folder

__all__ = ["ModelSource", "open_source"]


class ModelSource(Protocol):
    """What the loader asks of a saved model.

    Attributes:
        path: The file or folder.
        folder: Where the encoder lies in it: "", or as "0_Transformer/" in old models of sentence-transformers.
    """

    path: Path
    folder: str

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a tensor; None where there is none of that name."""

    def values(self, name: str) -> NDArray[np.float32]:
        """A tensor as float32."""

    def levels(self, name: str, scale: NDArray[np.float32]) -> NDArray[np.int8]:
        """The int8 levels of a matrix that lies on the grid of `scale` ([R] or [1])."""

    def file(self, name: str) -> bytes | None:
        """Content of a file beside the weights; None where there is none."""


def open_source(path: str | Path) -> ModelSource:
    """Open a `.pofa` file or a model folder; headers are read, tensors not.

    Raises:
        CheckpointError: Missing or damaged.
    """
    return _Folder(Path(path)) if Path(path).is_dir() else _Compressed(Path(path))


class _Compressed:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._model: CompressedModel = read_pofa(path)
        self._names = frozenset(self._model.names)
        self.folder = encoder_folder(self)

    def shape(self, name: str) -> tuple[int, ...] | None:
        return self._model.entry(name).shape if name in self._names else None

    def values(self, name: str) -> NDArray[np.float32]:
        return _as_float32(self._model.tensor(name), self._model.entry(name).dtype, name, self.path)

    def levels(self, name: str, scale: NDArray[np.float32]) -> NDArray[np.int8]:
        entry = self._model.entry(name)
        if entry.encoding in INT8_ENCODINGS:
            if not np.array_equal(self._model.raw(f"{name}.scale"), scale):
                raise CheckpointError(
                    f"{self.path}: tensor {name!r}: its scale differs from the one in quantization.safetensors; "
                    "compress the model again"
                )
            return self._model.stored_values(name)
        return _on_grid(self._model.tensor(name), scale, entry.dtype, name, self.path)

    def file(self, name: str) -> bytes | None:
        return self._model.file(name) if name in self._model.files else None


class _Folder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = FolderFiles(path)
        self.folder = encoder_folder(self._files)
        self._model = ModelFolder(path)

    def shape(self, name: str) -> tuple[int, ...] | None:
        return self._model.info(name).shape if name in self._model.names else None

    def values(self, name: str) -> NDArray[np.float32]:
        return _as_float32(self._model.tensor(name), self._model.info(name).dtype, name, self.path)

    def levels(self, name: str, scale: NDArray[np.float32]) -> NDArray[np.int8]:
        return _on_grid(self._model.tensor(name), scale, self._model.info(name).dtype, name, self.path)

    def file(self, name: str) -> bytes | None:
        return self._files.file(name)


def _as_float32(tensor: NDArray[Any], dtype: DType, name: str, path: Path) -> NDArray[np.float32]:
    if not dtype.is_float:
        raise CheckpointError(
            f"{path}: tensor {name!r} is {dtype.name}, the engine takes float32, float16 and bfloat16; save the model "
            "in one of these"
        )
    return np.ascontiguousarray(to_float32(tensor, dtype))


def _on_grid(tensor: NDArray[Any], scale: NDArray[np.float32], dtype: DType, name: str, path: Path) -> NDArray[np.int8]:
    levels = grid_integers(tensor, scale, dtype) if dtype.is_float and tensor.ndim == 2 else None
    if levels is None:
        raise CheckpointError(
            f"{path}: tensor {name!r} is not on the integer grid of its scale in quantization.safetensors; quantize "
            "the model again"
        )
    return levels
