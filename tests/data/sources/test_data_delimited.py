"""CSV and TSV files as spreadsheets and other tools write them."""

import csv
import io
import tracemalloc

import pytest

from pruneofa.data.sources import delimited
from pruneofa.data.sources.reading import read_rows
from pruneofa.errors import DataError

ROWS = [{"text": "one, two; three", "label": "1"}, {"text": 'a "quote"\nand a line', "label": "0"}]


def written(delimiter, **more):
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, ["text", "label"], delimiter=delimiter, **more)
    writer.writeheader()
    writer.writerows(ROWS)
    return buffer.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_what_spreadsheets_write_is_read(delimiter, encoding, write):
    for content in (
        written(delimiter),
        written(delimiter, lineterminator="\n"),
        written(delimiter, quoting=csv.QUOTE_ALL),
    ):
        assert list(read_rows(write("a.csv", content.encode(encoding)))) == ROWS
    if delimiter != ",":
        content = f"sep={delimiter}\r\n{written(delimiter)}"
        rows = list(read_rows(write("b.csv", content.encode(encoding))))
        assert rows == ROWS and rows[1].origin.endswith("b.csv:4")


@pytest.mark.parametrize("length", [131_072, 131_073, 3_000_000])
def test_a_field_may_be_as_long_as_a_record(length, write):
    path = write("a.csv", f'text,label\n{"x" * length},1\n"{"y " * (length // 2)}",2\n')
    assert [len(row["text"]) for row in read_rows(path)] == [length, length // 2 * 2]


def test_a_record_is_bounded(write, monkeypatch):
    monkeypatch.setattr(delimited, "MAX_RECORD_BYTES", 50_000)
    endless = 'text,label\nfine,1\n"open\n' + "line\n" * 200_000
    with pytest.raises(DataError, match=r"a\.csv:3: a row of more than 50000 characters; is a quote not closed"):
        list(read_rows(write("a.csv", endless)))
    path = write("b.csv", "text,label\n" + f"{'word ' * 20},1\n" * 50_000)
    tracemalloc.start()
    assert sum(1 for _ in read_rows(path)) == 50_000
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_empty_columns_at_the_end_are_none(write):
    assert list(read_rows(write("a.csv", "text, label ,,\na,1,,\nb,2\n"))) == [
        {"text": "a", "label": "1"},
        {"text": "b", "label": "2"},
    ]
    with pytest.raises(DataError, match=r"a\.csv:2: 4 fields where the header has 2"):
        list(read_rows(write("a.csv", "text,label,,\na,1,note,\n")))


def test_a_faulty_row_is_one_row(write):
    content = b'text,label\n"a"b,1\nc,2\nd\n"e\nf",3\n' + b"\xff,4\ng,5\n"
    rows = list(read_rows(write("a.csv", content), keep_broken=True))
    assert [row.get("text") for row in rows] == [None, "c", None, "e\nf", None, "g"]
    assert [row.fault.reason for row in rows if row.fault] == ["broken CSV", delimited.WRONG_FIELD_COUNT, "not UTF-8"]
    rows = list(read_rows(write("a.tsv", b"text\tlabel\na\n\xff\t1\nb\t2"), keep_broken=True))
    assert [row.fault and row.fault.reason for row in rows] == [delimited.WRONG_FIELD_COUNT, "not UTF-8", None]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\n".encode("utf-16-le") * 3, r"a\.csv: looks like UTF-16 without a byte order mark.*UTF-16LE"),
        (b"\x1f\x8b" + bytes(20), r"a\.csv: holds gz data; give the file the ending \.gz"),
        (b"PK\x03\x04" + bytes(20), r"a\.csv: is a zip archive \(or an Excel workbook\); unpack it, or save it as CSV"),
        ("text,label\na,1\n".encode("utf-16")[:-1], r"a\.csv: not utf-16.* after line 1, as its byte order mark says"),
        (b"te\xffxt,label\na,1\n", r"a\.csv:1: not UTF-8 \(byte 0xff at column 3\)"),
    ],
)
def test_what_is_no_text_says_what_it_is(content, message, write):
    with pytest.raises(DataError, match=message):
        list(read_rows(write("a.csv", content)))
