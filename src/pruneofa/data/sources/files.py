"""Rows from text, JSON lines, CSV, TSV, Parquet files and MediaWiki dumps, plain or compressed, read as a stream.

A file's last extension but the compression decides: `.txt` one document per block of lines between blank lines
(column `text`); `.jsonl`, `.json` one object per line; `.csv` with quoting; `.tsv` split at tabs without quoting (as
GLUE's files need); `.parquet`; `.xml` a dump of a wiki's pages, see `pruneofa.data.sources.mediawiki`. CSV
and TSV start with a line of column names. All but Parquet are UTF-8. Compressed are `.bz2`, `.gz`, `.xz` and `.zst`.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pruneofa.data.sources.compression import COMPRESSIONS, READ_ERRORS, is_compressed, open_binary
from pruneofa.data.sources.mediawiki import read_dump
from pruneofa.data.sources.parquet import read_parquet
from pruneofa.data.sources.rows import Row
from pruneofa.errors import DataError

__all__ = ["ROW_EXTENSIONS", "RowReader", "is_row_file", "read_row_file", "read_tsv", "row_extension"]

RowReader = Callable[[Path], Iterator[Row]]
"""Yields the rows of one file."""

# A line, or a document of a text file, is held in memory whole: a damaged or hostile file must not take all of it.
_MAX_RECORD_BYTES = 64 * 2**20


def is_row_file(path: Path) -> bool:
    """Whether the file's extension is one that `read_row_file` reads."""
    return row_extension(path) in _READERS


def read_row_file(path: Path, readers: Mapping[str, RowReader] | None = None) -> Iterator[Row]:
    """Yield the rows of one file.

    Args:
        path: the file.
        readers: extension -> what reads it instead of this module.

    Raises:
        DataError: unknown extension, unreadable, damaged or undecodable file, a broken line, a row with more or fewer
            fields than the header, no row at all.
    """
    extension = row_extension(path)
    if extension not in _READERS:
        raise DataError(
            f"{path}: unknown extension {extension!r}; known: {', '.join(sorted(_READERS))}, "
            f"each plain or followed by {', '.join(COMPRESSIONS)}"
        )
    empty = True
    for row in {**_READERS, **(readers or {})}[extension](path):
        empty = False
        yield row
    if empty:
        raise DataError(f"{path} is empty: it holds no row; check the file or take it out of the source")


def row_extension(path: Path) -> str:
    """The extension that says how rows are written, in lower case, without that of a compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if is_compressed(path):
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number (from 1) and text of each line, line end kept."""
    number = 0
    try:
        with open_binary(path) as file:
            while raw := file.readline(_MAX_RECORD_BYTES + 1):
                number += 1
                if len(raw) > _MAX_RECORD_BYTES:
                    raise DataError(f"{path}:{number}: a line longer than {_MAX_RECORD_BYTES} bytes; split it")
                yield number, _decode(raw, path, number)
    except READ_ERRORS as error:
        damaged = "" if isinstance(error, PermissionError) or not is_compressed(path) else " (damaged or cut short?)"
        raise DataError(f"{path}: can't be read after line {number}{damaged}: {error}") from error


def _decode(raw: bytes, path: Path, number: int) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}:{number}: not UTF-8 (byte 0x{raw[error.start]:02x} at column {error.start + 1}); "
            f"convert the file, for example with iconv -t utf-8"
        ) from error


def _read_text(path: Path) -> Iterator[Row]:
    block: list[str] = []
    start = size = 0
    for number, line in _lines(path):
        if line.strip():
            if not block:
                start = number
            block.append(line)
            size += len(line)
            if size > _MAX_RECORD_BYTES:
                raise DataError(
                    f"{path}:{start}: a document of more than {_MAX_RECORD_BYTES} characters; "
                    f"put a blank line between documents"
                )
        elif block:
            yield Row({"text": "".join(block).strip()}, f"{path}:{start}")
            block, size = [], 0
    if block:
        yield Row({"text": "".join(block).strip()}, f"{path}:{start}")


def _read_json_lines(path: Path) -> Iterator[Row]:
    remedy = 'each line must be one JSON object, like {"text": "..."}'
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            if "\\ud" in line or "\\uD" in line:  # half of a surrogate pair is legal JSON but no text
                json.dumps(values, ensure_ascii=False).encode("utf-8")
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: broken JSON ({error}); {remedy}") from error
        if not isinstance(values, dict):
            raise DataError(f"{path}:{number}: a JSON {type(values).__name__}, not an object; {remedy}")
        yield Row(values, f"{path}:{number}")


def _read_csv(path: Path) -> Iterator[Row]:
    # strict: else a quote that is never closed swallows the rest of the file without a word.
    reader = csv.reader((line for _, line in _lines(path)), strict=True)
    header: list[str] | None = None
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{path}:{start}: broken CSV ({error}); write a quote inside a quoted field twice and end lines with a "
                "line feed, or use JSON lines"
            ) from error
        if fields is None:
            return
        if not fields:
            continue
        if header is None:
            header = _header(fields, path, "commas", ";\t|")
        else:
            yield _row(header, fields, path, start)


def read_tsv(path: Path, broken: Callable[[str], None] | None = None) -> Iterator[Row]:
    """Yield the rows of a TSV file: split at tabs, no quoting, a header first.

    Args:
        path: the file.
        broken: told the place of each line with more or fewer fields than the header, which is then left out; without
            it such a line is an error.

    Raises:
        DataError: as `read_row_file`.
    """
    header: list[str] | None = None
    for number, line in _lines(path):
        line = line.removesuffix("\n").removesuffix("\r")
        if not line:
            continue
        fields = line.split("\t")
        if header is None:
            header = _header(fields, path, "tabs", ",;|")
            if any(len(name) > 1 and name[0] == name[-1] == '"' for name in header):
                raise DataError(
                    f"{path}:1: the header has quotes around {', '.join(header[:5])}; in a TSV file quotes are part of "
                    "the text, as GLUE's files need: write the fields without, or use CSV"
                )
        elif broken is not None and len(fields) != len(header):
            broken(f"{path}:{number}")
        else:
            yield _row(header, fields, path, number)


def _header(fields: list[str], path: Path, separator: str, others: str) -> list[str]:
    """The names of the columns; `others` are marks that no name of a single column has, unless they part fields."""
    if len(fields) == 1 and (found := [mark for mark in others if mark in fields[0]]):
        raise DataError(
            f"{path}:1: the header is one column, {fields[0][:60]!r}; between the fields of such a file there must be "
            f"{separator}, not {found[0]!r}: convert it, or give it the extension that fits"
        )
    doubles = sorted({name for name in fields if fields.count(name) > 1})
    if doubles:
        raise DataError(
            f"{path}:1: the header names a column twice: {', '.join(map(repr, doubles))}; rename one, "
            f"or put a line of column names first if there is none"
        )
    return fields


def _row(header: list[str], fields: list[str], path: Path, number: int) -> Row:
    if len(fields) != len(header):
        raise DataError(
            f"{path}:{number}: {len(fields)} fields where the header has {len(header)} ({', '.join(header[:20])}); "
            f"correct the row"
        )
    return Row(dict(zip(header, fields, strict=True)), f"{path}:{number}")


_READERS: dict[str, RowReader] = {
    ".txt": _read_text,
    ".jsonl": _read_json_lines,
    ".json": _read_json_lines,
    ".csv": _read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
    ".xml": read_dump,
}

ROW_EXTENSIONS = tuple(sorted(_READERS))
"""Extensions of the files that are read, without that of a compression."""
