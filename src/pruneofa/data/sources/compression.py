"""Files opened for reading, decompressed on the way where the last extension says that they are compressed."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

__all__ = ["COMPRESSIONS", "READ_ERRORS", "is_compressed", "open_binary"]

READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading from `open_binary` raises when a file is missing, damaged or cut short."""


def _open_zstandard(path: Path) -> Any:
    import pyarrow

    return io.BufferedReader(pyarrow.CompressedInputStream(path.open("rb"), "zstd"), 2**17)


_OPENERS: dict[str, Callable[[Path], Any]] = {
    ".bz2": bz2.open,
    ".gz": gzip.open,
    ".xz": lzma.open,
    ".zst": _open_zstandard,
}

COMPRESSIONS = tuple(_OPENERS)
"""Extensions of compressed files."""


def is_compressed(path: Path) -> bool:
    """Whether the name says that the file is compressed."""
    return path.suffix.lower() in _OPENERS


def open_binary(path: Path) -> BinaryIO:
    """Open a file; reading may raise any of `READ_ERRORS`."""
    opener = _OPENERS.get(path.suffix.lower())
    return cast(BinaryIO, opener(path) if opener else path.open("rb"))
