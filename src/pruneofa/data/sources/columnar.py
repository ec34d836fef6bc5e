"""Rows of Parquet and Arrow files, read batch by batch."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pruneofa.data.sources.compression import is_compressed
from pruneofa.data.sources.rows import Row
from pruneofa.errors import DataError

__all__ = ["named_classes", "read_arrow", "read_parquet"]

_BATCH_ROWS = 256


def read_parquet(path: Path) -> Iterator[Row]:
    """Yield the rows; a batch of them is in memory, not the file.

    Raises:
        DataError: an unreadable or damaged file.
    """
    import pyarrow
    from pyarrow import parquet

    if is_compressed(path):
        raise DataError(f"{path}: Parquet compresses its own columns; unpack the file and give it as .parquet")
    number = 0
    try:
        with path.open("rb") as opened, parquet.ParquetFile(opened, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(values, f"{path} row {number}")
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read after row {number} (damaged or cut short?): {error}") from error


def read_arrow(path: Path) -> Iterator[Row]:
    """Yield the rows of an Arrow file or stream, mapped into memory, as Hugging Face's `save_to_disk` writes them.

    A class that the file's metadata name is given by its name, as the hub's data sets are.

    Raises:
        DataError: an unreadable or damaged file.
    """
    import pyarrow

    if is_compressed(path):
        raise DataError(f"{path}: an Arrow file is mapped into memory; unpack it and give it as .arrow")
    number = 0
    try:
        with pyarrow.memory_map(str(path)) as source:
            for batch in _record_batches(source):
                classes = _classes_of(batch.schema)
                for begin in range(0, batch.num_rows, _BATCH_ROWS):
                    for values in batch.slice(begin, _BATCH_ROWS).to_pylist():
                        number += 1
                        yield named_classes(Row(values, f"{path} row {number}"), classes)
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read after row {number} (damaged or cut short?): {error}") from error


def named_classes(row: Row, classes: dict[str, list[str]]) -> Row:
    """The row with the names of its classes in place of their numbers; a negative number says that it is withheld.

    Args:
        row: changed in place.
        classes: column -> names of its classes.
    """
    for column, names in classes.items():
        value = row.get(column)
        row[column] = names[value] if isinstance(value, int) and 0 <= value < len(names) else None
    return row


def _record_batches(source: Any) -> Iterator[Any]:
    import pyarrow

    try:
        reader = pyarrow.ipc.open_file(source)
    except pyarrow.ArrowInvalid:
        source.seek(0)
        yield from pyarrow.ipc.open_stream(source)
        return
    for index in range(reader.num_record_batches):
        yield reader.get_batch(index)


def _classes_of(schema: Any) -> dict[str, list[str]]:
    """Column -> names of its classes, from the metadata that the library datasets writes."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
