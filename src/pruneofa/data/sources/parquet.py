"""Rows of a Parquet file, read batch by batch."""

from collections.abc import Iterator
from pathlib import Path

from pruneofa.data.sources.compression import is_compressed
from pruneofa.data.sources.rows import Row
from pruneofa.errors import DataError

__all__ = ["read_parquet"]

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
