"""The files that a path, a folder or a glob stands for, and the split that each of a data set's files belongs to.

A folder stands for all known files below it. Where their names say that they are splits of one data set, as on the
Hugging Face hub (`data/train-00000-of-00002.parquet`, `validation.jsonl`, `test/part.csv`), or where `save_to_disk`
wrote it, one split has to be named: `FOLDER:train`. Splits are never mixed without being asked for.
"""

import difflib
import glob
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from pruneofa.data.sources.files import ROW_EXTENSIONS, is_row_file
from pruneofa.errors import DataError

__all__ = ["files_of", "split_of"]

_logger = logging.getLogger(__name__)

_DATASET_STATE = "state.json"
_DATASET_DICT = "dataset_dict.json"
# What tools write beside the data; none of it holds rows.
_NO_DATA = frozenset({"dataset_info.json", "dataset_infos.json", _DATASET_DICT, _DATASET_STATE})
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_WORD = re.compile(r"[A-Za-z]+")
_LISTED = 5


def files_of(item: str, path: Path, known: str) -> list[Path]:
    """The files of one item of a source, in the order in which they are read.

    Args:
        item: as it was given; named in errors.
        path: what it stands for.
        known: what else might have been given, for the error.

    Raises:
        DataError: nothing is there; a folder without a file that is known, or with several splits of which none is
            named.
    """
    if path.is_dir():
        return _files_below(path, None)
    if path.exists():
        return [path]
    folder, colon, split = str(path).rpartition(":")
    if colon and split and Path(folder).is_dir():
        return _files_below(Path(folder), split)
    if glob.has_magic(item):
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
        found = sorted(file for file in map(Path, matches) if file.is_file() and file.name not in _NO_DATA)
        if not found:
            raise DataError(f"the glob {item!r} matches no file; check the path and the pattern")
        _tell_mixed(item, found)
        return found
    raise DataError(
        f"no file or folder {item!r}{_nearest(path)}; give an existing path, a glob that matches, or one of: {known}"
    )


def split_of(path: Path) -> str | None:
    """The split that the name of a file, or of a folder above it, speaks of: train, validation, test, or None.

    Args:
        path: below the data set's folder, relative to it.
    """
    for part in (path.name.partition(".")[0], *reversed(path.parts[:-1])):
        found = {_SPLITS[word.lower()] for word in _WORD.findall(part) if word.lower() in _SPLITS}
        if len(found) == 1:
            return found.pop()
    return None


def _files_below(folder: Path, split: str | None) -> list[Path]:
    if (folder / _DATASET_DICT).is_file():
        return _saved_data_set(_split_folder(folder, split))
    if (folder / _DATASET_STATE).is_file() and any(folder.glob("*.arrow")):
        if split is not None:
            raise DataError(f"{folder} is a data set without splits, as save_to_disk wrote it; leave :{split} out")
        return _saved_data_set(folder)
    below = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    every = [
        path
        for path in below
        if (folder / path).is_file() and path.name not in _NO_DATA and not any(part[0] == "." for part in path.parts)
    ]
    known = [path for path in every if is_row_file(path)]
    if not known:
        raise DataError(f"the folder {folder} holds no {', '.join(ROW_EXTENSIONS)} file; check the path")
    if len(known) < len(every):
        _logger.info(
            "%s: %d of %d files have another extension and are not read", folder, len(every) - len(known), len(every)
        )
    return [folder / path for path in _one_split(folder, known, split)]


def _one_split(folder: Path, files: Sequence[Path], split: str | None) -> Sequence[Path]:
    splits = {path: split_of(path) for path in files}
    found = sorted({name for name in splits.values() if name is not None})
    if split is None:
        if len(found) > 1:
            raise DataError(
                f"the folder {folder} holds the splits {', '.join(found)} of a data set ({_examples(splits)}); name "
                f"one: {_named(folder, 'train' if 'train' in found else found[0])}, or give a glob of the files"
            )
        return files
    wanted = _SPLITS.get(split.lower(), split)
    chosen = [path for path, name in splits.items() if name == wanted]
    if not chosen:
        told = f"the splits {', '.join(found)}" if found else "no file whose name speaks of a split"
        raise DataError(f"the folder {folder} has no split {split!r}; it holds {told}")
    return chosen


def _split_folder(folder: Path, split: str | None) -> Path:
    """The folder of one split of a `DatasetDict`, as `save_to_disk` wrote it."""
    path = folder / _DATASET_DICT
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["splits"]
        if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise ValueError("no names of splits")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); save the data set again") from error
    if split is None and len(names) == 1:
        return folder / str(names[0])
    if split is None or split not in names:
        given = f"no split {split!r}" if split is not None else "several splits"
        chosen = "train" if "train" in names else names[0]
        raise DataError(
            f"the data set {folder} has {given}: it holds {', '.join(names)}; name one: {_named(folder, chosen)}"
        )
    return folder / split


def _saved_data_set(folder: Path) -> list[Path]:
    """The files of a data set that `save_to_disk` wrote, in its own order."""
    path = folder / _DATASET_STATE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        names = [entry["filename"] for entry in state["_data_files"]]
        if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise ValueError("no names of files")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); save the data set again") from error
    if state.get("_indices_data_files"):
        raise DataError(f"{folder}: an old version of datasets saved a choice of rows apart; save the data set again")
    return [folder / name for name in names]


def _named(folder: Path, split: str) -> str:
    """How a split is given; a bare name may be that of another source ("hub:train")."""
    return f"{'./' if len(folder.parts) == 1 else ''}{folder}:{split}"


def _tell_mixed(item: str, files: Sequence[Path]) -> None:
    splits = {path: split_of(Path(path.name)) for path in files}
    if len(found := sorted({name for name in splits.values() if name is not None})) > 1:
        _logger.warning(
            "the glob %r matches files of the splits %s (%s); all are read", item, ", ".join(found), _examples(splits)
        )


def _examples(splits: dict[Path, str | None]) -> str:
    """A file of each split."""
    first: dict[str, Path] = {}
    for path, name in splits.items():
        if name is not None:
            first.setdefault(name, path)
    return ", ".join(f"{name}: {path}" for name, path in sorted(first.items())[:_LISTED])


def _nearest(path: Path) -> str:
    """What lies beside a path that does not exist and has nearly its name."""
    try:
        names = [found.name for found in path.parent.iterdir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, n=1)
    return f" (did you mean {str(path.with_name(near[0]))!r}?)" if near else ""
