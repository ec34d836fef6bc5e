"""Files opened for reading, decompressed on the way where the last extension says that they are compressed."""

import bz2
import gzip
import importlib.util
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from pruneofa.errors import DataError

__all__ = ["COMPRESSIONS", "READ_ERRORS", "is_compressed", "open_binary"]

READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading from `open_binary` raises when a file is missing, damaged or cut short."""

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPED = 0x184D2A5  # the first 28 bits of a frame that holds no data; pzstd writes one before each
_ZSTD_WINDOW_LOG = 27  # the longest that libzstd, and so pyarrow, takes unless it is told otherwise
_CHUNK = 2**17
_ZSTD_CHUNK = 2**12  # few bytes may stand for many: 128 KiB by each block of four


def _open_zstandard(path: Path) -> Any:
    import pyarrow

    opened = path.open("rb")
    try:
        window_log = _zstd_window_log(opened)
    except BaseException:
        opened.close()
        raise
    if window_log <= _ZSTD_WINDOW_LOG:
        return io.BufferedReader(pyarrow.CompressedInputStream(opened, "zstd"), _CHUNK)
    if importlib.util.find_spec("zstandard") is None:
        opened.close()
        raise DataError(
            f"{path}: was compressed with a window of 2^{window_log} bytes (zstd --long), which needs the package "
            f"'zstandard'; run: pip install zstandard, or pack it anew: zstd -dc --long={window_log} | zstd"
        )
    return io.BufferedReader(_Streams(opened, _ZstandardStream, _ZSTD_CHUNK), _CHUNK)


def _zstd_window_log(file: BinaryIO) -> int:
    """Logarithm of the first data frame's window (RFC 8878, 3.1.1.1), 0 where it can't be told; the file is rewound."""
    head = file.read(18)
    while len(head) >= 8 and int.from_bytes(head[:4], "little") >> 4 == _ZSTD_SKIPPED:
        file.seek(int.from_bytes(head[4:8], "little") + 8 - len(head), io.SEEK_CUR)
        head = file.read(18)
    file.seek(0)
    if not head.startswith(_ZSTD_MAGIC) or len(head) < 6:
        return 0
    flags = head[4]
    if not flags & 0x20:
        return 10 + (head[5] >> 3)
    begin = 5 + (0, 1, 2, 4)[flags & 3]  # a single segment: the window is the content, whose size is told
    size = int.from_bytes(head[begin : begin + (1, 2, 4, 8)[flags >> 6]], "little")
    return max(size - 1, 0).bit_length()


class _Streams(io.RawIOBase):
    """Compressed streams, one after the other, with nothing but zero bytes between and behind them.

    The standard library's own files end without a word at a stream whose beginning is damaged, so that a dump of many
    streams would lose all that follows.

    Args:
        file: the compressed bytes; closed with this one.
        new: makes a decompressor, with `decompress`, `eof`, `unused_data` and `needs_input` as those of `bz2`.
        chunk: bytes to give it at once.
    """

    def __init__(self, file: BinaryIO, new: Callable[[], Any], chunk: int = _CHUNK) -> None:
        self._file = file
        self._new = new
        self._chunk = chunk
        self._stream: Any = new()
        self._packed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if self._stream is None:
                self._packed = self._packed.lstrip(b"\x00") or self._file.read(self._chunk).lstrip(b"\x00")
                if not self._packed:
                    if not self._file.read(1):
                        return 0
                    self._file.seek(-1, io.SEEK_CUR)
                    continue
                self._stream = self._new()
            elif self._stream.needs_input and not self._packed:
                self._packed = self._file.read(self._chunk)
                if not self._packed:
                    raise EOFError("the file ends in the middle of a compressed stream")
            self._ready = memoryview(self._stream.decompress(self._packed, _CHUNK))
            self._packed = b""
            if self._stream.eof:
                self._packed, self._stream = self._stream.unused_data, None
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _ZstandardStream:
    """A frame of Zstandard with a window of up to 2 GiB, by the package zstandard."""

    needs_input = True

    def __init__(self) -> None:
        import zstandard

        self._frame = zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()
        self._error = zstandard.ZstdError

    @property
    def eof(self) -> bool:
        return bool(self._frame.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._frame.unused_data)

    def decompress(self, data: bytes, _limit: int) -> bytes:
        try:
            return bytes(self._frame.decompress(data))
        except self._error as error:  # no OSError
            raise OSError(f"Zstandard: {error}") from error


def _open_streams(new: Callable[[], Any]) -> Callable[[Path], Any]:
    return lambda path: io.BufferedReader(_Streams(path.open("rb"), new), _CHUNK)


_OPENERS: dict[str, Callable[[Path], Any]] = {
    ".bz2": _open_streams(bz2.BZ2Decompressor),
    ".gz": gzip.open,
    ".xz": _open_streams(lzma.LZMADecompressor),
    ".zst": _open_zstandard,
}

COMPRESSIONS = tuple(_OPENERS)
"""Extensions of compressed files."""


def is_compressed(path: Path) -> bool:
    """Whether the name says that the file is compressed."""
    return path.suffix.lower() in _OPENERS


def open_binary(path: Path) -> BinaryIO:
    """Open a file; reading may raise any of `READ_ERRORS`.

    Raises:
        DataError: Zstandard with a long window, which needs a package that is not installed.
    """
    opener = _OPENERS.get(path.suffix.lower())
    return cast(BinaryIO, opener(path) if opener else path.open("rb"))
