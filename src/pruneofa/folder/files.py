"""The small files of a model, wherever they lie: a folder on the disk, or one inside a `.pofa` file."""

from pathlib import Path
from typing import Any, Protocol

from pruneofa.checkpoint.encoder_place import CONFIG_NAME, MODULES_NAME, encoder_place
from pruneofa.checkpoint.model_folder import read_beside
from pruneofa.checkpoint.strict_json import parse_json
from pruneofa.errors import CheckpointError

__all__ = [
    "CONFIG_NAME",
    "MAX_JSON_BYTES",
    "MODULES_NAME",
    "FolderFiles",
    "ModelFiles",
    "encoder_folder",
    "read_object",
]

MAX_JSON_BYTES = 2**24


class ModelFiles(Protocol):
    """Files of a model by their name in its folder, such as `1_Pooling/config.json`."""

    path: Path

    def file(self, name: str) -> bytes | None:
        """Content of a file; None where there is none."""


class FolderFiles:
    """The files of a folder on the disk."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def file(self, name: str) -> bytes | None:
        """Content of a file; None where there is none.

        Raises:
            CheckpointError: It is larger than any file beside the weights.
        """
        return read_beside(self.path, name)


def read_object(files: ModelFiles, name: str) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is no such file.

    Numbers may be as large as the 10^30 that transformers writes for "no limit".

    Raises:
        CheckpointError: It is no JSON, or no object.
    """
    content = files.file(name)
    if content is None:
        return None
    value = parse_json(content, f"{files.path}: {name}", MAX_JSON_BYTES)
    if not isinstance(value, dict):
        raise CheckpointError(f"{files.path}: {name} holds {type(value).__name__}, an object is needed")
    return value


def encoder_folder(files: ModelFiles) -> str:
    """Where the encoder lies in the folder, see `encoder_place`.

    Raises:
        CheckpointError: modules.json is damaged, or names a place outside the folder.
    """
    has_config = files.file(CONFIG_NAME) is not None
    return encoder_place(has_config, None if has_config else files.file(MODULES_NAME), str(files.path))
