"""Folders of data sets: splits are told apart and never mixed without being asked for."""

import json
from pathlib import Path

import datasets
import pytest

from pruneofa.data.sources.folders import split_of
from pruneofa.data.sources.reading import describe_source, read_rows
from pruneofa.errors import DataError

FEATURES = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})


def data_set(*texts):
    return datasets.Dataset.from_dict({"text": list(texts), "label": [1, 0, -1, 0][: len(texts)]}, features=FEATURES)


def texts(source):
    return [row["text"] for row in read_rows(source)]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("validation-00000-of-00001.parquet", "validation"),
        ("my_data.dev.jsonl", None),
        ("dev.jsonl", "validation"),
        ("news-test_01.csv.gz", "test"),
        ("train/part1.jsonl", "train"),
        ("wiki/AA/wiki_00", None),
        ("training.txt", "train"),
        ("latest.txt", None),
        ("train_test.csv", None),
        ("train/test/a.csv", "test"),
    ],
)
def test_the_split_of_a_file(path, split):
    assert split_of(Path(path)) == split


def test_a_hub_style_folder_is_read_by_split(write, tmp_path, caplog):
    for name in ("train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001"):
        write(f"set/data/{name}.jsonl", json.dumps({"text": name}))
    write("set/dataset_infos.json", json.dumps({"default": {"splits": {}}}, indent=1))
    write("set/README.md", "a card")
    folder = str(tmp_path / "set")
    with pytest.raises(DataError, match=r"holds the splits train, validation of a data set \(train: data/tr.*:train"):
        read_rows(folder)
    assert texts(f"{folder}:train") == ["train-00000-of-00002", "train-00001-of-00002"]
    assert texts(f"{folder}:validation") == texts(f"{folder}:dev") == ["validation-00000-of-00001"]
    assert describe_source(f"{folder}:dev")[0]["file"] == f"{folder}/data/validation-00000-of-00001.jsonl"
    with pytest.raises(DataError, match="has no split 'test'; it holds the splits train, validation"):
        read_rows(f"{folder}:test")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(texts(f"{folder}/**/*.jsonl")) == 3
    assert "matches files of the splits train, validation (train: " in caplog.text


def test_a_folder_of_one_split_is_read_whole(write, tmp_path):
    write("set/train.csv", "text\na\n")
    write("set/more/b.csv", "text\nb\n")
    write("set/dataset_info.json", "{}")
    assert texts(str(tmp_path / "set")) == ["b", "a"]
    assert texts(str(tmp_path / "set:train")) == ["a"]
    with pytest.raises(DataError, match="it holds no file whose name speaks of a split"):
        read_rows(str(tmp_path / "set" / "more:train"))


def test_what_save_to_disk_wrote_is_read(tmp_path):
    data_set("a", "b", "c").save_to_disk(tmp_path / "one", num_shards=2)
    rows = list(read_rows(str(tmp_path / "one")))
    assert [dict(row) for row in rows] == [
        {"text": "a", "label": "yes"}, {"text": "b", "label": "no"}, {"text": "c", "label": None},
    ]  # fmt: skip
    assert rows[0].origin.endswith("one/data-00000-of-00002.arrow row 1")
    assert len(describe_source(str(tmp_path / "one"))) == 2
    with pytest.raises(DataError, match="is a data set without splits"):
        read_rows(f"{tmp_path / 'one'}:train")
    assert texts(str(tmp_path / "one" / "data-00001-of-00002.arrow")) == ["c"]


def test_splits_that_save_to_disk_wrote_are_named(tmp_path):
    saved = datasets.DatasetDict(train=data_set("a"), other=data_set("b"))
    saved.save_to_disk(tmp_path / "several")
    with pytest.raises(DataError, match=r"has several splits: it holds train, other; name one: .*several:train"):
        read_rows(str(tmp_path / "several"))
    with pytest.raises(DataError, match=r"has no split 'test': it holds train, other"):
        read_rows(str(tmp_path / "several:test"))
    assert texts(str(tmp_path / "several:train")) == ["a"] and texts(str(tmp_path / "several:other")) == ["b"]
    datasets.DatasetDict(only=data_set("c")).save_to_disk(tmp_path / "single")
    assert texts(str(tmp_path / "single")) == ["c"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("state.json", "{"),
        ("state.json", '{"_data_files": []}'),
        ("state.json", '{"_data_files": [{"filename": "../../etc/passwd"}]}'),
        ("state.json", "[]"),
    ],
)
def test_a_damaged_data_set_is_one_error(name, content, tmp_path):
    data_set("a").save_to_disk(tmp_path / "one")
    (tmp_path / "one" / name).write_text(content)
    with pytest.raises(DataError, match=rf"{name} is damaged .*save the data set again"):
        read_rows(str(tmp_path / "one"))
    arrow = next((tmp_path / "one").glob("*.arrow"))
    for held in (b"", arrow.read_bytes()[:300], b"plain"):
        arrow.write_bytes(held)
        with pytest.raises(DataError, match=r"arrow(: can't be read after row 0| is empty)"):
            list(read_rows(str(arrow)))
