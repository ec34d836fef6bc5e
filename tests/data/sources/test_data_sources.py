import bz2
import gzip
import logging
import lzma

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from pruneofa.data.sources.files import read_row_file
from pruneofa.data.sources.reading import describe_source, read_rows, source_parts
from pruneofa.data.sources.rows import Row, column_value, text_value
from pruneofa.errors import DataError


def texts(source):
    return [row["text"] for row in read_rows(source)]


def test_text_file_has_a_document_per_block(write):
    path = write("a.txt", "\ufeffone\ntwo\r\n\r\n  \n\nthree\n")
    rows = list(read_rows(path))
    assert [row["text"] for row in rows] == ["one\ntwo", "three"]
    assert [row.origin for row in rows] == [f"{path}:1", f"{path}:6"]


def test_json_lines(write):
    path = write("a.jsonl", '{"text": "Zoë \\ud83d\\ude00", "label": 1}\n\n{"text": null}\n')
    assert list(read_rows(path)) == [{"text": "Zoë 😀", "label": 1}, {"text": None}]


def test_csv_with_quotes_commas_and_line_ends_in_fields(write):
    path = write("a.csv", '\ufefftext,label\n"one, ""two""\nthree",x\nfour,y\n')
    rows = list(read_rows(path))
    assert rows == [{"text": 'one, "two"\nthree', "label": "x"}, {"text": "four", "label": "y"}]
    assert rows[1].origin == f"{path}:4"


def test_tsv_does_not_quote(write):
    path = write("a.tsv", "sentence\tlabel\n\"half quoted\t1\r\nit's, fine\t0\n")
    assert list(read_rows(path)) == [
        {"sentence": '"half quoted', "label": "1"},
        {"sentence": "it's, fine", "label": "0"},
    ]


def zstandard(data):
    return pyarrow.Codec("zstd").compress(data, asbytes=True)


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zst", zstandard), ("ZST", zstandard)],
)
def test_compressed_files(write, suffix, compress):
    assert texts(write(f"a.v1.txt.{suffix}", compress(b"one\n\ntwo"))) == ["one", "two"]
    # Tools that compress in parallel write several streams, one after the other.
    joined = compress(b'{"text": "one"}\n{"te') + compress(b'xt": "two"}\n')
    assert texts(write(f"a.jsonl.{suffix}", joined)) == ["one", "two"]


def test_parquet(tmp_path):
    rows = [{"text": f"text {i}", "label": i} for i in range(600)] + [{"text": None, "label": 0}]
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=250)
    read = list(read_rows(str(path)))
    assert read == rows and read[1].origin == f"{path} row 2"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"a\.parquet: can't be read after row 0 \(damaged or cut short\?\)"):
        list(read_rows(str(path)))


def test_the_parts_of_a_source_are_opened_one_by_one(write, tmp_path):
    for index in range(30):
        write(f"many/{index:02d}.txt", f"text {index}")
    parts = source_parts([str(tmp_path / "many"), write("last.jsonl", '{"text": "last"}')])
    assert len(parts) == 31
    (tmp_path / "many" / "07.txt").unlink()
    assert [next(parts[index])["text"] for index in (3, 30)] == ["text 3", "last"]
    with pytest.raises(DataError, match=r"07\.txt: can't be read after line 0: .*No such file"):
        next(parts[7])


def test_folder_glob_list_and_package(write, tmp_path, caplog, monkeypatch):
    write("toydata/b.txt", "b")
    write("toydata/sub/a.jsonl", '{"text": "a"}')
    write("toydata/README.md", "no data")
    write("toydata/.hidden/c.txt", "c")
    folder = str(tmp_path / "toydata")
    with caplog.at_level(logging.INFO, logger="pruneofa.data.sources.folders"):
        assert texts(folder) == ["b", "a"]
    assert "1 of 3 files have another extension" in caplog.text
    assert texts(f"{folder}/**/*.jsonl") == ["a"]
    assert texts([f"{folder}/sub", f"{folder}/*.txt"]) == ["a", "b"]
    write("toydata/__init__.py", "")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert texts("package:toydata/b.txt") == ["b"]


def test_an_existing_name_with_glob_characters_is_a_file(write):
    assert texts(write("a[1].txt", "one")) == ["one"]


def test_reading_is_a_stream(write):
    rows = read_rows(write("a.jsonl", '{"text": "a"}\nbroken\n'))
    assert next(rows)["text"] == "a"
    with pytest.raises(DataError, match="broken JSON"):
        next(rows)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", r"a\.txt is empty: it holds no row"),
        ("a.txt", " \n\n", r"a\.txt is empty"),
        ("a.csv", "text,label\n", r"a\.csv is empty"),
        ("a.tsv", "", r"a\.tsv is empty"),
        ("a.pdf", "x", r"unknown extension '\.pdf'; known: \.arrow, \.csv, \.json, \.jsonl, .* \.xml, wiki_00"),
        ("a.parquet", "x", r"a\.parquet: can't be read after row 0 \(damaged or cut short\?\)"),
        ("a.parquet.gz", gzip.compress(b"x", mtime=0), r"Parquet compresses its own columns; unpack the file"),
        ("a", "x", "unknown extension ''"),
        ("a.gz", "x", "unknown extension ''"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', r"a\.jsonl:2: broken JSON .*needed: one JSON object a line"),
        ("a.jsonl", '["a"]\n', r"a\.jsonl: \[0\]: a JSON string, not an object; needed: one JSON object a line"),
        ("a.json", "[\n1]\n", r"a\.json: \[0\]: a JSON int, not an object"),
        ("a.jsonl", '{"text": "\\ud800"}', r"a\.jsonl:1: half a surrogate pair \(U\+D800\)"),
        ("a.jsonl", "[" * 200_000, r"a\.jsonl:1: broken JSON"),
        ("a.jsonl", "1" * 5000, r"a\.jsonl:1: broken JSON"),
        ("a.csv", "text,label\na,b\nc\n", r"a\.csv:3: 1 fields where the header has 2 \(text, label\)"),
        ("a.csv", 'text,label\n"open,b\nc,d\n', r"a\.csv:2: broken CSV \(unexpected end of data\)"),
        ("a.csv", "text,text\na,b\n", r"a\.csv:1: the header names a column twice: 'text'"),
        ("a.tsv", "text\tlabel\na\tb\tc\n", r"a\.tsv:2: 3 fields where the header has 2"),
        ("a.tsv", "text,label\na,b\n", r"header is one column, 'text,label'; .* must be tabs, not ','"),
        ("a.tsv", '"text"\t"label"\n"a"\t"b"\n', r'header has quotes around "text", "label"; in a TSV .*or use CSV'),
        ("a.csv", "text,label\ra,b\r", r"a\.csv:1: broken CSV \(.*end lines with a line feed"),
        ("a.txt", b"fine\n\nna\xefve\n", r"a\.txt:3: not UTF-8 \(byte 0xef at column 3\); convert the file"),
        ("a.txt.gz", b"plain", r"can't be read after line 0 \(damaged or cut short\?\)"),
        ("a.txt.gz", gzip.compress(b"a\n" * 9, mtime=0)[:-9], r"\(damaged or cut short\?\)"),
        ("a.txt.bz2", bz2.compress(b"a\n" * 9)[:-9], r"\(damaged or cut short\?\)"),
        ("a.txt.xz", b"plain", r"\(damaged or cut short\?\)"),
        ("a.txt.xz", lzma.compress(b"a\n" * 9)[:-9], r"a\.txt\.xz: can't be read .*\(damaged or cut short\?\)"),
        ("a.txt.zst", b"plain", r"a\.txt\.zst: can't be read after line 0 \(damaged or cut short\?\)"),
        ("a.txt.zst", zstandard(b"a\n" * 9)[:-4], r"a\.txt\.zst: can't be read .*\(damaged or cut short\?\)"),
    ],
)
def test_a_faulty_file_is_one_clear_error(write, name, content, message):
    with pytest.raises(DataError, match=message):
        list(read_rows(write(name, content)))


def test_a_line_or_document_is_bounded(write, monkeypatch):
    for module in ("lines", "text_file"):
        monkeypatch.setattr(f"pruneofa.data.sources.{module}.MAX_RECORD_BYTES", 10)
    with pytest.raises(DataError, match=r"a\.txt:2: a line longer than 10 bytes"):
        list(read_rows(write("a.txt", "short\n" + "x" * 11)))
    with pytest.raises(DataError, match=r"b\.txt:1: a document of more than 10 characters; put a blank line"):
        list(read_rows(write("b.txt", "line\nline\nline\n")))


def test_what_is_not_there_is_told_at_the_call(tmp_path):
    with pytest.raises(DataError, match=r"no file or folder '.*missing\.txt'"):
        read_rows(str(tmp_path / "missing.txt"))
    (tmp_path / "texts").mkdir()
    with pytest.raises(DataError, match=r"'.*txets' \(did you mean '.*texts'\?\); give an existing path"):
        read_rows(str(tmp_path / "txets"))
    with pytest.raises(DataError, match=r"no file or folder 'nowhere/at/all'; give"):
        read_rows("nowhere/at/all")
    with pytest.raises(DataError, match="matches no file"):
        read_rows(str(tmp_path / "*.txt"))
    with pytest.raises(DataError, match=r"holds no \.arrow, \.csv, .*\.xml, wiki_00 file"):
        read_rows(str(tmp_path))
    with pytest.raises(DataError, match="has no part 'test'; parts: train, evaluation, corpus, fit, selection"):
        read_rows("rotten_tomatoes:test")
    for empty in ("", [], [" "]):
        with pytest.raises(DataError, match="is empty; name a file"):
            read_rows(empty)


def test_a_vanished_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"can't be read after line 0: .*No such file"):
        list(read_row_file(tmp_path / "a.txt"))


def test_description_changes_with_the_content_alone(write):
    path = write("a.txt", "one")
    first = describe_source(path)
    assert first == describe_source([path]) and first[0]["bytes"] == 3 and first[0]["file"] == path
    write("a.txt", "two")
    assert describe_source(path)[0]["sha256"] != first[0]["sha256"]
    assert describe_source("hub:glue/sst2") == [{"source": "hub:glue/sst2"}]


class TestHub:
    @pytest.fixture
    def hub(self, monkeypatch):
        calls = []
        features = datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
        )
        data = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)

        def load(path, config, split, streaming):
            calls.append((path, config, split))
            if path == "glue/sst2" or path == "nowhere":
                raise FileNotFoundError(f"no data set {path}")
            if path == "broken":
                return datasets.IterableDataset.from_generator(broken)
            if split == "nothing":
                return datasets.IterableDataset.from_generator(nothing) if streaming else data.select([])
            return data.to_iterable_dataset() if streaming else data

        def nothing():
            yield from ()

        def broken():
            yield {"text": "a"}
            raise ConnectionError("the network is gone")

        monkeypatch.setattr(datasets, "load_dataset", load)
        return calls

    @pytest.mark.parametrize(
        ("source", "asked"),
        [
            ("hub:imdb", ("imdb", None, "train")),
            ("hub:stanford/imdb:test", ("stanford/imdb", None, "test")),
            ("hub:a/b/c:train[:10%]", ("a/b", "c", "train[:10%]")),
            ("hub:glue/sst2:validation", ("glue", "sst2", "validation")),
        ],
    )
    def test_names(self, hub, source, asked):
        rows = list(read_rows(source))
        assert hub[-1] == asked
        assert [row["label"] for row in rows] == ["yes", "no", None]
        assert rows[1].origin == f"{source} row 2"

    def test_failures(self, hub):
        with pytest.raises(DataError, match=r"hub:nowhere: can't be loaded .*FileNotFoundError: no data set nowhere"):
            list(read_rows("hub:nowhere"))
        with pytest.raises(DataError, match="hub:imdb:nothing has no rows"):
            list(read_rows("hub:imdb:nothing"))
        with pytest.raises(DataError, match=r"hub:broken: can't be read on after row 1: .*the network is gone"):
            list(source_parts("hub:broken", stream=True)[0])

    def test_a_stream_gives_the_same_rows(self, hub):
        [rows] = source_parts("hub:imdb", stream=True)
        assert [dict(row) for row in rows] == [dict(row) for row in read_rows("hub:imdb")]
        with pytest.raises(DataError, match="hub:imdb:nothing has no rows"):
            list(source_parts("hub:imdb:nothing", stream=True)[0])


def test_without_a_network_a_hub_data_set_is_one_error():
    with pytest.raises(
        DataError, match=r"hub:nobody/nothing: can't be loaded from the Hugging Face hub; check the name"
    ):
        list(source_parts("hub:nobody/nothing", stream=True)[0])


def test_columns_are_strict():
    row = Row({"sentence": "a", "label": 3}, "f.csv:7")
    assert text_value(row, "sentence") == "a" and column_value(row, "label") == 3
    with pytest.raises(
        DataError, match=r"f\.csv:7: no column 'sentance'; columns found: 'sentence', 'label'; did you mean"
    ):
        column_value(row, "sentance")
    with pytest.raises(DataError, match=r"f\.csv:7: column 'label' is int \(3\), not a text"):
        text_value(row, "label")
