"""Rows of CSV and TSV files."""

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

from pruneofa.data.sources.lines import MAX_RECORD_BYTES, UndecodableLine, numbered_lines
from pruneofa.data.sources.rows import Row, broken_row
from pruneofa.errors import DataError

__all__ = ["WRONG_FIELD_COUNT", "read_csv", "read_tsv"]

WRONG_FIELD_COUNT = "lines with more or fewer fields than the header"
"""Reason of a row's fault."""

_OTHER_MARKS = ";\t|"
_SEPARATOR_LINE = "sep="  # Excel's own way to say what parts fields


def read_csv(path: Path) -> Iterator[Row]:
    """Yield the rows of a CSV file: quoted where needed, a line of column names first.

    Fields are parted by commas, or, where the line of column names has none, by semicolons (as Excel writes where the
    comma is the decimal mark), tabs or bars.

    Raises:
        DataError: a fault after which nothing can be read: a quote that is never closed, a faulty header.
    """
    if csv.field_size_limit() < MAX_RECORD_BYTES:
        csv.field_size_limit(MAX_RECORD_BYTES)  # the module's own limit is 131,072 characters
    feed = _Feed(path)
    # strict: else a quote that is never closed swallows the rest of the file without a word.
    reader = csv.reader(feed, strict=True, delimiter=feed.separator())
    header: list[str] | None = None
    width = 0
    while True:
        feed.begin_record()
        try:
            fields = next(reader, None)
        except csv.Error as error:
            message = (
                f"{path}:{feed.first}: broken CSV ({error}); write a quote inside a quoted field twice and end lines "
                "with a line feed, or use JSON lines"
            )
            if header is None or feed.ended:
                raise DataError(message) from error
            yield broken_row(f"{path}:{feed.first}", "broken CSV", message)
            continue
        if fields is None:
            return
        if not fields:
            continue
        origin = f"{path}:{feed.first}"
        if header is None:
            if feed.fault is not None:
                raise DataError(feed.fault)
            header, width = _header(fields, path, feed.first), len(fields)
        elif feed.fault is not None:
            yield broken_row(origin, "not UTF-8", feed.fault)
        else:
            yield _row(header, fields, origin, width)


class _Feed:
    """The lines of a file, given to the csv module one by one and counted for each record."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = numbered_lines(path)
        self._waiting: list[tuple[int, str]] = []
        self._size = 0
        self.first = 1
        self.fault: str | None = None
        self.ended = False

    def separator(self) -> str:
        """What parts the fields, from the first line that is not empty."""
        for number, line in self._lines:
            stripped = line.rstrip("\r\n")
            if number == 1 and stripped.lower().startswith(_SEPARATOR_LINE) and len(stripped) == 5:
                return stripped[4]
            if stripped:
                self._waiting.append((number, line))
                unquoted = "".join(stripped.split('"')[::2])
                counts = {mark: unquoted.count(mark) for mark in _OTHER_MARKS}
                best = max(counts, key=counts.__getitem__)
                return best if counts[best] and "," not in unquoted else ","
        return ","

    def begin_record(self) -> None:
        """The next line begins a record."""
        self._size, self.fault = 0, None

    def __iter__(self) -> Iterator[str]:
        for number, line in itertools.chain(self._waiting, self._lines):
            if not self._size:
                self.first = number
            self._size += len(line)
            if self._size > MAX_RECORD_BYTES:
                raise DataError(
                    f"{self._path}:{self.first}: a row of more than {MAX_RECORD_BYTES} characters; is a quote not "
                    "closed?"
                )
            if isinstance(line, UndecodableLine) and self.fault is None:
                self.fault = line.fault
            yield line
        self.ended = True


def read_tsv(path: Path) -> Iterator[Row]:
    """Yield the rows of a TSV file: split at tabs, no quoting (as GLUE's files need), a line of column names first.

    Raises:
        DataError: a fault after which nothing can be read: a faulty header.
    """
    header: list[str] | None = None
    for number, raw in numbered_lines(path):
        line = raw.removesuffix("\n").removesuffix("\r")
        if not line:
            continue
        fields, origin = line.split("\t"), f"{path}:{number}"
        fault = raw.fault if isinstance(raw, UndecodableLine) else None
        if header is None:
            if fault is not None:
                raise DataError(fault)
            if len(fields) == 1 and (found := [mark for mark in ",;|" if mark in line]):
                raise DataError(
                    f"{origin}: the header is one column, {line[:60]!r}; between the fields of such a file there must "
                    f"be tabs, not {found[0]!r}: convert it, or give it the extension that fits"
                )
            header = _header(fields, path, number)
            if any(len(name) > 1 and name[0] == name[-1] == '"' for name in header):
                raise DataError(
                    f"{origin}: the header has quotes around {', '.join(header[:5])}; in a TSV file quotes are part of "
                    "the text, as GLUE's files need: write the fields without, or use CSV"
                )
        elif fault is not None:
            yield broken_row(origin, "not UTF-8", fault)
        else:
            yield _row(header, fields, origin)


def _header(fields: list[str], path: Path, number: int) -> list[str]:
    """The names of the columns; empty ones at the end, as spreadsheets leave them, are none."""
    names = [name.strip() for name in fields]
    while len(names) > 1 and not names[-1]:
        names.pop()
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise DataError(
            f"{path}:{number}: the header names a column twice: {', '.join(map(repr, doubles))}; rename one, "
            f"or put a line of column names first if there is none"
        )
    return names


def _row(header: list[str], fields: list[str], origin: str, width: int = 0) -> Row:
    """A row as its columns; `width` is that of a header with empty names at its end, below which nothing may stand."""
    if len(fields) == width and not any(fields[len(header) :]):
        fields = fields[: len(header)]
    if len(fields) != len(header):
        message = (
            f"{origin}: {len(fields)} fields where the header has {len(header)} ({', '.join(header[:20])}); "
            "correct the row"
        )
        return broken_row(origin, WRONG_FIELD_COUNT, message)
    return Row(dict(zip(header, fields, strict=True)), origin)
