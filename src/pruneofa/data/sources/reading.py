"""Where rows come from: files, folders, globs, built-in data sets, the Hugging Face hub.

A source is a string, or a list of them that are read one after the other:

- a file, a folder (every known file below it, in order of name; `FOLDER:SPLIT` where it holds splits) or a glob
  (`data/**/*.txt`); see `pruneofa.data.sources.files` and `pruneofa.data.sources.folders`;
- `package:MODULE/path`: a file or folder inside an installed package;
- `NAME:PART`: a data set that an installed package brings, see `pruneofa.data.sources.plugins`; the demo's own is
  `rotten_tomatoes:PART`;
- `hub:NAME[/CONFIG][:SPLIT]`: a data set of the Hugging Face hub (split `train` if none is named).
"""

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pruneofa.data.sources.columnar import named_classes
from pruneofa.data.sources.files import RowReader, read_row_file
from pruneofa.data.sources.folders import files_of
from pruneofa.data.sources.hub_access import only_cached_if_unreachable
from pruneofa.data.sources.packaged import PACKAGE_PREFIX, packaged_path
from pruneofa.data.sources.plugins import named_source, source_names
from pruneofa.data.sources.rows import Row
from pruneofa.errors import DataError

__all__ = ["describe_source", "is_file_source", "is_read_later", "read_rows", "source_parts"]

_HUB_PREFIX = "hub:"


def read_rows(
    source: str | list[str], readers: Mapping[str, RowReader] | None = None, *, keep_broken: bool = False
) -> Iterator[Row]:
    """Stream the rows of a source; each is a dict (column -> value) with its `origin`.

    That files exist and names are known is checked at the call, what they hold while it is read.

    Args:
        source: see the module.
        readers: file extension -> what reads such files instead of `pruneofa.data.sources.files`.
        keep_broken: yield a row that can't be read with its `fault` set, instead of an error.

    Raises:
        DataError: a missing file, a glob or folder without a file, an unknown part, and all faults of the files.
    """
    return itertools.chain.from_iterable(source_parts(source, readers, keep_broken=keep_broken))


def source_parts(
    source: str | list[str],
    readers: Mapping[str, RowReader] | None = None,
    *,
    keep_broken: bool = False,
    stream: bool = False,
) -> list[Iterator[Row]]:
    """The rows of each file or data set of a source, in order; a file is opened when its first row is asked for.

    Args:
        source: see the module.
        readers, keep_broken: as of `read_rows`.
        stream: read a hub data set as it comes over the network, instead of storing it on the disk first.

    Raises:
        DataError: as `read_rows`.
    """
    return [part for item in _items(source) for part in _open(item, readers, keep_broken, stream)]


def describe_source(source: str | list[str]) -> list[dict[str, Any]]:
    """What a source consists of, so that a change of it can be told: files with their size and SHA-256.

    A hub data set is described by its name alone.
    """
    described: list[dict[str, Any]] = []
    for item in _items(source):
        if item.startswith(_HUB_PREFIX):
            described.append({"source": item})
        elif (named := named_source(item)) is not None:
            described.append({"source": item, **_fingerprint(named[0].data_file())})
        else:
            described += [{"source": item, "file": str(path), **_fingerprint(path)} for path in _files(item)]
    return described


def is_file_source(item: str) -> bool:
    """Whether an item of a source names files of this machine, not a data set or package that its name stands for."""
    return not item.startswith((_HUB_PREFIX, PACKAGE_PREFIX)) and named_source(item) is None


def is_read_later(item: str) -> bool:
    """Whether an item's rows are looked at only when they are needed: they come over a network or from a plug-in."""
    return item.startswith(_HUB_PREFIX) or named_source(item) is not None


def _items(source: str | list[str]) -> list[str]:
    items = [source] if isinstance(source, str) else list(source)
    if not items or not all(isinstance(item, str) and item.strip() for item in items):
        raise DataError(f"the source {source!r} is empty; name a file, folder, glob or data set")
    return items


def _open(item: str, readers: Mapping[str, RowReader] | None, keep_broken: bool, stream: bool) -> list[Iterator[Row]]:
    if item.startswith(_HUB_PREFIX):
        return [_read_hub(item, stream)]
    if (named := named_source(item)) is not None:
        source, part = named
        return [source.read_part(part)]
    return [read_row_file(path, readers, keep_broken=keep_broken) for path in _files(item)]


def _files(item: str) -> list[Path]:
    path = packaged_path(item) if item.startswith(PACKAGE_PREFIX) else Path(item).expanduser()
    known = ", ".join([f"{_HUB_PREFIX}NAME", *(f"{name}:PART" for name in source_names())])
    return files_of(item, path, known)


def _fingerprint(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error}") from error


def _read_hub(item: str, stream: bool) -> Iterator[Row]:
    name, _, split = item.removeprefix(_HUB_PREFIX).partition(":")
    data_set = _load_hub(item, name, split or "train", stream)
    classes = {
        column: feature.names for column, feature in (data_set.features or {}).items() if hasattr(feature, "names")
    }
    number = 0
    for values in _hub_rows(item, data_set):
        number += 1
        yield named_classes(Row(values, f"{item} row {number}"), classes)
    if not number:
        raise DataError(f"{item} has no rows; name another split as {_HUB_PREFIX}{name}:SPLIT")


def _hub_rows(item: str, data_set: Any) -> Iterator[dict[str, Any]]:
    rows = iter(data_set)
    number = 0
    while True:
        try:
            values = next(rows)
        except StopIteration:
            return
        except Exception as error:  # as below: a stream that breaks off in the middle
            raise DataError(
                f"{item}: can't be read on after row {number}: {type(error).__name__}: {str(error)[:300]}; "
                "run the same command again when the network is back"
            ) from error
        number += 1
        yield values


def _load_hub(item: str, name: str, split: str, stream: bool) -> Any:
    import datasets

    # OWNER/NAME and NAME/CONFIG look the same: the first is tried first.
    parts = name.split("/")
    readings: list[tuple[str, str | None]] = [("/".join(parts[:2]), "/".join(parts[2:]) or None)]
    if len(parts) == 2:
        readings.append((parts[0], parts[1]))
    failures = []
    with only_cached_if_unreachable() as fault:
        for path, config in readings:
            try:
                return datasets.load_dataset(path, config, split=split, streaming=stream)
            except Exception as error:  # the library and its network layer raise a dozen unrelated types
                failures.append(f"{path}{f' ({config})' if config else ''}: {type(error).__name__}: {str(error)[:300]}")
    if fault is not None:
        failures.insert(0, f"the hub can't be reached ({fault})")
    raise DataError(
        f"{item}: can't be loaded from the Hugging Face hub; check the name, the split and the network, "
        f"or give local files. {' | '.join(failures)}"
    )
