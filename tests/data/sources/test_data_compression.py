"""Compressed files of one stream or several: all is read, or an error tells that it could not be."""

import bz2
import gzip
import lzma

import pyarrow
import pytest

from pruneofa.data.sources.compression import READ_ERRORS, open_binary
from pruneofa.data.sources.reading import read_rows
from pruneofa.errors import DataError

TEXT = b"".join(b"a line of text, number %d\n" % number for number in range(20_000))
FORMS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pyarrow.Codec("zstd").compress(data, asbytes=True),
}


def read(path):
    with open_binary(path) as file:
        return b"".join(file)


@pytest.mark.parametrize("form", FORMS)
def test_streams_one_after_the_other(form, tmp_path):
    path = tmp_path / f"a.txt.{form}"
    parts = [TEXT[begin : begin + 90_000] for begin in range(0, len(TEXT), 90_000)]
    path.write_bytes(b"".join(map(FORMS[form], parts)))
    assert read(path) == TEXT
    path.write_bytes(FORMS[form](b"") + FORMS[form](TEXT) + FORMS[form](b""))
    assert read(path) == TEXT


@pytest.mark.parametrize("form", ["gz", "bz2", "xz"])
def test_zero_bytes_between_and_behind_streams_are_padding(form, tmp_path):
    path = tmp_path / f"a.txt.{form}"
    for zeros in (4, 2**18):
        path.write_bytes(FORMS[form](TEXT) + bytes(zeros) + FORMS[form](TEXT) + bytes(zeros))
        assert read(path) == TEXT + TEXT


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_lost_without_a_word(form, tmp_path):
    """Neither a stream whose beginning is damaged nor a file that is cut is taken for the end."""
    path = tmp_path / f"a.txt.{form}"
    one = FORMS[form](TEXT)
    damaged = one[:1] + bytes([one[1] ^ 0xFF]) + one[2:]
    for content in (one + damaged, one + b"no stream" * 9 + one, one + one[:-20], one[:40], one + one[:8]):
        path.write_bytes(content)
        with pytest.raises(READ_ERRORS):
            read(path)
        with pytest.raises(DataError, match=r"can't be read after line \d+ \(damaged or cut short\?\)"):
            list(read_rows(str(path)))
    path.write_bytes(b"")
    with pytest.raises(DataError):
        list(read_rows(str(path)))


def frame(window_log):
    """The beginning of a Zstandard frame with a window of 2^window_log bytes."""
    return b"\x28\xb5\x2f\xfd\x00" + bytes([(window_log - 10) << 3]) + bytes(20)


def test_a_window_longer_than_the_usual_one_names_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    path = tmp_path / "a.txt.zst"
    skipped = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    size = (2**30).to_bytes(8, "little")
    for content in (frame(31), skipped + frame(31), b"\x28\xb5\x2f\xfd\xe0" + size, b"\x28\xb5\x2f\xfd\xa0" + size[:4]):
        path.write_bytes(content)
        with pytest.raises(
            DataError, match=r"window of 2\^(31|30) bytes \(zstd --long\), which needs the package 'zst"
        ):
            list(read_rows(str(path)))
    path.write_bytes(skipped + FORMS["zst"](TEXT) + skipped + FORMS["zst"](TEXT))
    assert read(path) == TEXT + TEXT
    path.write_bytes(frame(27))
    with pytest.raises(READ_ERRORS):
        read(path)
