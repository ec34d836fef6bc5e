"""Rows from files of every known kind, plain or compressed, read as a stream.

A file's last extension but the compression decides: `.txt` one document per block of lines between blank lines
(column `text`); `.jsonl`, `.ndjson`, `.json` objects in any of the usual forms; `.csv` with quoting; `.tsv` split at
tabs without quoting (as GLUE's files need); `.parquet`, `.arrow`; `.xml` a dump of a wiki's pages, see
`pruneofa.data.sources.mediawiki`; `wiki_00` and the like, which have none, what WikiExtractor writes. CSV and TSV start
with a line of column names. Text is UTF-8, or has a byte order mark. Compressed are `.bz2`, `.gz`, `.xz` and `.zst`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pruneofa.data.sources.columnar import read_arrow, read_parquet
from pruneofa.data.sources.compression import COMPRESSIONS, is_compressed
from pruneofa.data.sources.delimited import read_csv, read_tsv
from pruneofa.data.sources.json_rows import read_json
from pruneofa.data.sources.mediawiki import read_dump
from pruneofa.data.sources.rows import Row
from pruneofa.data.sources.text_file import read_text, read_wiki_extract
from pruneofa.errors import DataError

__all__ = ["ROW_EXTENSIONS", "RowReader", "is_row_file", "read_row_file", "row_extension"]

RowReader = Callable[[Path], Iterator[Row]]
"""Yields the rows of one file; one that can't be read has a `fault`."""

_WIKI_EXTRACT = "wiki_00"
_WIKI_EXTRACT_NAME = re.compile(r"wiki_\d+")


def is_row_file(path: Path) -> bool:
    """Whether the file's extension is one that `read_row_file` reads."""
    return row_extension(path) in _READERS


def read_row_file(
    path: Path, readers: Mapping[str, RowReader] | None = None, *, keep_broken: bool = False
) -> Iterator[Row]:
    """Yield the rows of one file.

    Args:
        path: the file.
        readers: extension -> what reads it instead of this module.
        keep_broken: yield a row that can't be read with its `fault` set, instead of an error.

    Raises:
        DataError: unknown extension, unreadable or damaged file, no row at all; a row that can't be read (a broken
            line, more or fewer fields than the header, other bytes than UTF-8).
    """
    extension = row_extension(path)
    if extension not in _READERS:
        raise DataError(
            f"{path}: unknown extension {extension!r}; known: {', '.join(sorted(_READERS))}, "
            f"each plain or followed by {', '.join(COMPRESSIONS)}"
        )
    empty = True
    for row in {**_READERS, **(readers or {})}[extension](path):
        if row.fault is not None and not keep_broken:
            raise DataError(row.fault.message)
        empty = False
        yield row
    if empty:
        raise DataError(f"{path} is empty: it holds no row; check the file or take it out of the source")


def row_extension(path: Path) -> str:
    """The extension that says how rows are written, in lower case, without that of a compression."""
    bare = path.with_suffix("") if is_compressed(path) else path
    return _WIKI_EXTRACT if _WIKI_EXTRACT_NAME.fullmatch(bare.name) else bare.suffix.lower()


_READERS: dict[str, RowReader] = {
    ".arrow": read_arrow,
    ".csv": read_csv,
    ".json": read_json,
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".parquet": read_parquet,
    ".tsv": read_tsv,
    ".txt": read_text,
    ".xml": read_dump,
    _WIKI_EXTRACT: read_wiki_extract,
}

ROW_EXTENSIONS = tuple(sorted(_READERS))
"""Extensions of the files that are read, without that of a compression."""
