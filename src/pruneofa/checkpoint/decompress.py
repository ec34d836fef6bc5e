"""Give a compressed file back as the model folder that it was made from."""

from pathlib import Path

from pruneofa.atomic import replacing_folder
from pruneofa.checkpoint.reader import DEFAULT_MAX_TENSOR_BYTES, CompressedModel, read_pofa
from pruneofa.checkpoint.writer import Progress
from pruneofa.errors import CheckpointError

__all__ = ["decompress"]


def decompress(
    path: str | Path,
    model_dir: str | Path,
    *,
    max_tensor_bytes: int = DEFAULT_MAX_TENSOR_BYTES,
    progress: Progress | None = None,
) -> Path:
    """Write the model folder that `path` holds, each file byte for byte as it was; all of it or nothing.

    Args:
        path: The `.pofa` file.
        model_dir: A folder that does not exist yet, or is empty.
        max_tensor_bytes: The largest dense tensor that will be made.
        progress: Called as `progress("write", headers, tensors and files done, of)`.

    Returns:
        The folder.

    Raises:
        CheckpointError: The file is damaged, the folder is not empty, or it cannot be written.
    """
    target = Path(model_dir)
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise CheckpointError(f"{target}: is there already and is no empty folder; remove it or name a new folder")
    model = read_pofa(path, max_tensor_bytes=max_tensor_bytes)
    try:
        with replacing_folder(target) as temporary:
            _write_folder(model, temporary, progress)
    except OSError as error:
        raise CheckpointError(
            f"{target}: cannot be written ({error.strerror or error}); free some space or choose another place. "
            "Nothing was left behind"
        ) from error
    return target


def _write_folder(model: CompressedModel, folder: Path, progress: Progress | None) -> None:
    total, done = len(model.weight_files) + len(model.names) + len(model.files), 0
    for file_name, pieces in model.original_files():
        destination = folder / file_name
        destination.parent.mkdir(parents=True, exist_ok=True)
        # "x": two names that a file system takes for one are an error, never an overwritten file.
        with destination.open("xb") as file:
            for piece in pieces:
                file.write(piece)
                done += 1
                if progress is not None:
                    progress("write", done, total)
