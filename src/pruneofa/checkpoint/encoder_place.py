"""Where the encoder lies in a model's folder: in it, or below it, as in old models of sentence-transformers."""

import json
from pathlib import PurePosixPath

from pruneofa.checkpoint.strict_json import parse_json
from pruneofa.errors import CheckpointError

__all__ = ["CONFIG_NAME", "MODULES_NAME", "checked_place", "encoder_place"]

CONFIG_NAME = "config.json"
MODULES_NAME = "modules.json"
MAX_MODULES_BYTES = 2**20


def encoder_place(has_config: bool, modules: bytes | None, where: str) -> str:
    """ "" for the folder itself, or a subfolder with its slash, such as "0_Transformer/".

    Models that sentence-transformers saved before its version 2 have the encoder in a folder of its own, which is the
    first that modules.json names.

    Args:
        has_config: Whether the folder has a config.json.
        modules: Content of its modules.json, None where there is none.
        where: The folder, for errors.

    Raises:
        CheckpointError: modules.json is damaged, or names a place outside the folder.
    """
    if has_config or modules is None:
        return ""
    entries = parse_json(modules, f"{where}: {MODULES_NAME}", MAX_MODULES_BYTES)
    first = entries[0] if isinstance(entries, list) and entries else None
    path = first.get("path") if isinstance(first, dict) else None
    if not isinstance(path, str) or not path:
        return ""
    return f"{checked_place(path, where)}/"


def checked_place(path: str, where: str) -> str:
    """A subfolder that modules.json names.

    Raises:
        CheckpointError: It leads out of the folder.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ":" in path or ".." in parts:
        raise CheckpointError(
            f"{where}: {MODULES_NAME}: path is {json.dumps(path)[:200]}, allowed is a folder below this one, such as "
            "'1_Pooling'"
        )
    return "/".join(parts)
