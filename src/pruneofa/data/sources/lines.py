"""Lines of text files, plain or compressed, decoded one by one; what is no text in them is told, not lost.

Files are UTF-8, with or without a byte order mark, or UTF-16 or UTF-32 with one (as Excel writes "Unicode text").
"""

import codecs
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pruneofa.data.sources.compression import READ_ERRORS, is_compressed, open_binary
from pruneofa.errors import DataError

__all__ = ["MAX_RECORD_BYTES", "UndecodableLine", "decoding_fault", "encoding_of", "numbered_lines", "reading"]

MAX_RECORD_BYTES = 64 * 2**20
"""A line, a record or a document is held in memory whole: a damaged or hostile file must not take all of it."""

_MARKS = (  # that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAGIC = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
_OTHER_MAGIC = {
    b"PAR1": "a Parquet file; name it .parquet",
    b"PK\x03\x04": "a zip archive (or an Excel workbook); unpack it, or save it as CSV",
}
_PEEKED = 512


class UndecodableLine(str):
    """A line that holds bytes which are not UTF-8; in it they are half surrogates.

    Attributes:
        fault: names the place and the remedy.
    """

    __slots__ = ("fault",)
    fault: str


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number (from 1) and text of each line, with its end; an `UndecodableLine` where it is not UTF-8.

    Raises:
        DataError: an unreadable or damaged file, a line that is too long, another encoding without a mark.
    """
    number = 0
    with reading(path, lambda: f"line {number}"), open_binary(path) as file:
        encoding = encoding_of(file, path)
        if encoding == "utf-8":
            while raw := file.readline(MAX_RECORD_BYTES + 1):
                number += 1
                _check_length(len(raw), path, number)
                try:
                    line = raw.decode("utf-8")
                except UnicodeDecodeError:
                    line = _undecodable(raw, f"{path}:{number}")
                yield number, line.removeprefix("\ufeff") if number == 1 and line.startswith("\ufeff") else line
            return
        text = io.TextIOWrapper(file, encoding, newline="\n")
        while line := text.readline(MAX_RECORD_BYTES + 1):
            number += 1
            _check_length(len(line), path, number)
            yield number, line


def _undecodable(raw: bytes, place: str) -> UndecodableLine:
    line = UndecodableLine(raw.decode("utf-8", "surrogateescape"))
    line.fault = decoding_fault(line, place) or ""
    return line


def decoding_fault(text: str, place: str) -> str | None:
    """What is wrong with a text that was decoded with `surrogateescape`; None where all of it was UTF-8."""
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) & 0xFF
        return (
            f"{place}: not UTF-8 (byte 0x{byte:02x} at column {error.start + 1}); convert the file, for example with "
            "iconv -f latin1 -t utf-8"
        )
    return None


def encoding_of(file: BinaryIO, path: Path) -> str:
    """The encoding of a file, from its first bytes, which stay to be read.

    Raises:
        DataError: it is compressed or binary data under another name, or UTF-16 without a mark.
    """
    begin = file.peek(_PEEKED)[:_PEEKED] if hasattr(file, "peek") else b""
    for mark, name in _MARKS:
        if begin.startswith(mark):
            return name
    for magic, extension in _MAGIC.items():
        if begin.startswith(magic):
            raise DataError(f"{path}: holds {extension[1:]} data; give the file the ending {extension}")
    for magic, what in _OTHER_MAGIC.items():
        if begin.startswith(magic):
            raise DataError(f"{path}: is {what}")
    if begin.count(b"\x00") > len(begin) // 4:
        order = "LE" if begin[1:2] == b"\x00" else "BE"
        raise DataError(
            f"{path}: looks like UTF-16 without a byte order mark (many zero bytes); convert it, for example with "
            f"iconv -f UTF-16{order} -t utf-8"
        )
    return "utf-8"


@contextmanager
def reading(path: Path, done: Callable[[], str]) -> Iterator[None]:
    """Within the block, faults of reading and decoding `path` are DataErrors.

    Args:
        path: the file.
        done: names the last record that was read, such as "line 7".
    """
    try:
        yield
    except READ_ERRORS as error:
        known = isinstance(error, PermissionError | FileNotFoundError) or not is_compressed(path)
        damaged = "" if known else " (damaged or cut short?)"
        raise DataError(f"{path}: can't be read after {done()}{damaged}: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not {error.encoding} after {done()}, as its byte order mark says ({error.reason}); the file is "
            "damaged or cut short: write it again, as UTF-8"
        ) from error


def _check_length(length: int, path: Path, number: int) -> None:
    if length > MAX_RECORD_BYTES:
        raise DataError(f"{path}:{number}: a line longer than {MAX_RECORD_BYTES} bytes; split it")
