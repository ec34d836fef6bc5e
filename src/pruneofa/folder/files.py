"""The small files of a model, wherever they lie: a folder on the disk, or one inside a `.pofa` file."""

import json
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from pruneofa.checkpoint.strict_json import parse_json
from pruneofa.errors import CheckpointError

__all__ = ["CONFIG_NAME", "MODULES_NAME", "FolderFiles", "ModelFiles", "encoder_folder", "read_object"]

CONFIG_NAME = "config.json"
MODULES_NAME = "modules.json"
MAX_FILE_BYTES = 64 * 2**20
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
        path = self.path / name
        if not path.is_file():
            return None
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise CheckpointError(
                f"{path}: has more than {MAX_FILE_BYTES} bytes, which no file beside the weights needs"
            )
        return content


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
    """Where the encoder lies in the folder: "" for the folder itself, or as "0_Transformer/".

    Models that sentence-transformers saved before version 2 have it in a folder of its own, which modules.json names.

    Raises:
        CheckpointError: modules.json names a place outside the folder.
    """
    if files.file(CONFIG_NAME) is not None:
        return ""
    content = files.file(MODULES_NAME)
    if content is None:
        return ""
    modules = parse_json(content, f"{files.path}: {MODULES_NAME}", MAX_JSON_BYTES)
    first = modules[0] if isinstance(modules, list) and modules else None
    path = first.get("path") if isinstance(first, dict) else None
    if not isinstance(path, str) or not path:
        return ""
    return f"{checked_place(path, files)}/"


def checked_place(path: str, files: ModelFiles) -> str:
    """A subfolder that modules.json names.

    Raises:
        CheckpointError: It leads out of the folder.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ":" in path or ".." in parts:
        raise CheckpointError(
            f"{files.path}: {MODULES_NAME}: path is {json.dumps(path)[:200]}, allowed is a folder below this one, "
            "such as '1_Pooling'"
        )
    return "/".join(parts)
