"""Answers for files without labels: right, in order, in every form; whole or not at all."""

import csv
import json

import numpy as np
import pyarrow.parquet
import pytest

from pruneofa.engine.engine import Engine

TEXTS = [
    f"the film was {word} and this plot is very {other}" for word in ("good", "bad") for other in ("long", "odd")
] * 90


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(TEXTS)))
    return path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_labels_are_those_of_transformers_in_the_order_of_the_rows(cli, task_models, texts, tmp_path):
    import torch
    import transformers

    outcome = cli("predict", task_models["classify"], texts, "--output", tmp_path / "out.jsonl")
    assert (outcome.code, outcome.out) == (0, f"{tmp_path / 'out.jsonl'}: 360 rows\n")
    found = lines(tmp_path / "out.jsonl")
    tokenizer = transformers.AutoTokenizer.from_pretrained(task_models["classify"])
    model = transformers.AutoModelForSequenceClassification.from_pretrained(task_models["classify"])
    with torch.no_grad():
        logits = model(**tokenizer(TEXTS, return_tensors="pt", padding=True)).logits
    expected = logits.softmax(1).numpy()
    assert [list(row["scores"]) for row in found] == [["down", "flat", "up"]] * len(TEXTS)
    np.testing.assert_allclose([list(row["scores"].values()) for row in found], expected, atol=0.01)
    assert all(row["score"] == max(row["scores"].values()) == row["scores"][row["label"]] for row in found)


def test_every_form_holds_the_same(cli, task_models, texts, tmp_path):
    for name in ("out.jsonl", "out.csv", "out.parquet"):
        assert cli("predict", task_models["classify"], texts, "--output", tmp_path / name).code == 0
    expected = lines(tmp_path / "out.jsonl")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [row["label"] for row in expected]
    assert [float(row["scores.flat"]) for row in rows] == [row["scores"]["flat"] for row in expected]
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist() == expected
    assert cli("predict", task_models["classify"], texts).out == (tmp_path / "out.jsonl").read_text()


@pytest.mark.parametrize("name", ["texts.csv", "texts.tsv", "texts.txt", "texts.parquet"])
def test_every_layout_is_read(cli, task_models, tmp_path, name):
    few, path = TEXTS[:4], tmp_path / name
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.table({"text": few}), path)
    else:
        path.write_text("\n".join([*([] if name.endswith(".txt") else ["text"]), *few]) + "\n")
    outcome = cli("predict", task_models["embed"], path)
    vectors = [json.loads(line)["vector"] for line in outcome.out.splitlines()]
    np.testing.assert_array_equal(np.float32(vectors), Engine.load(task_models["embed"]).embed(few))


def test_columns_of_pairs_are_named_as_elsewhere(cli, task_models, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("a,b\nthe film,was good\nthe plot,was bad\n")
    outcome = cli("predict", task_models["classify"], path, "--text_column", "a", "--text_pair_column", "b")
    found = [json.loads(line)["scores"] for line in outcome.out.splitlines()]
    pairs = [("the film", "was good"), ("the plot", "was bad")]
    assert found == [answer.scores for answer in Engine.load(task_models["classify"]).classify(pairs)]


def test_a_regression_gives_its_number(cli, task_models, tmp_path, texts):
    found = [json.loads(line) for line in cli("predict", task_models["regress"], texts).out.splitlines()]
    expected = Engine.load(task_models["regress"]).classify(TEXTS)
    assert found == [{"score": answer.score} for answer in expected]


def test_questions_are_answered_from_their_contexts(cli, task_models, tmp_path):
    path = tmp_path / "questions.jsonl"
    row = {"question": "was the film good", "context": "the film was very good and the plot was odd"}
    path.write_text(json.dumps(row) + "\n")
    found = json.loads(cli("predict", task_models["answer"], path).out)
    assert found["answer"] == row["context"][found["start"] : found["end"]]
    assert found["score"] == Engine.load(task_models["answer"]).answer(**row).score
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "context": ""}) + "\n")
    outcome = cli("predict", task_models["answer"], path)
    assert (outcome.code, outcome.out) == (1, "")
    assert f"{path}:2: the context holds no token" in outcome.err


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet"])
def test_entities_are_written_in_every_form(cli, task_models, texts, tmp_path, name):
    assert cli("predict", task_models["label_tokens"], texts, "--output", tmp_path / name).code == 0
    expected = Engine.load(task_models["label_tokens"]).label_tokens(TEXTS)
    if name == "out.csv":
        with (tmp_path / name).open(newline="") as file:
            found = [json.loads(row["entities"]) for row in csv.DictReader(file)]
    else:
        rows = (
            lines(tmp_path / name) if name == "out.jsonl" else pyarrow.parquet.read_table(tmp_path / name).to_pylist()
        )
        found = [row["entities"] for row in rows]
    assert [[entity["word"] for entity in row] for row in found] == [[one.word for one in row] for row in expected]


@pytest.mark.parametrize("output", ["out.jsonl", "out.csv", "out.parquet", "-"])
def test_a_row_that_cannot_be_read_leaves_nothing(cli, task_models, texts, tmp_path, output):
    with texts.open("a") as file:
        file.write('{"id": 360, "text": 7}\n')
    before = sorted(path.name for path in tmp_path.iterdir())
    outcome = cli("predict", task_models["classify"], texts, "--output", output if output == "-" else tmp_path / output)
    assert (outcome.code, outcome.out) == (1, "")
    assert f"{texts}:361: column 'text' is int (7), not a text" in outcome.err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["{model}", "{texts}", "--text_column", "txt"], 1, "no column 'txt'; columns found: 'id', 'text'"),
        (["{model}", "{texts}", "--output", "out.xls"], 2, "ends in .jsonl, .csv or .parquet"),
        (["{model}", "{texts}", "--output", "{texts}"], 2, "is the file that is read"),
        (["{model}", "{texts}", "--threads", "0"], 2, "threads is 0"),
        (["{model}", "{texts}x"], 1, "did you mean"),
        (["{model}x", "{texts}"], 1, "there is no such file or folder"),
    ],
)
def test_what_is_wrong_is_named(cli, task_models, texts, tmp_path, monkeypatch, arguments, code, text):
    monkeypatch.chdir(tmp_path)
    outcome = cli("predict", *(word.format(model=task_models["classify"], texts=texts) for word in arguments))
    assert outcome.code == code
    assert text in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["texts.jsonl"]
