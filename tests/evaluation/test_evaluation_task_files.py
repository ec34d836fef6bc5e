"""Tasks found by their names; what is wrong with their files is told with place and remedy."""

import gzip
import json

import pytest

from pruneofa.errors import DataError
from pruneofa.evaluation.task_files import ClassificationTask, RetrievalTask, SimilarityTask, load_task


def test_similarity_from_a_file_or_a_folder(tmp_path):
    text = 'sentence1\tsentence2\tscore\nA "quoted" one\tB\t4.2\nC\tD\t1\n'
    (tmp_path / "sts12.tsv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "stsb").mkdir()
    (tmp_path / "stsb" / "dev.tsv").write_text(text)
    (tmp_path / "stsb" / "test.tsv").write_text(text.replace("4.2", "3"))
    assert load_task("sts12", tmp_path) == SimilarityTask("sts12", ['A "quoted" one', "C"], ["B", "D"], [4.2, 1.0])
    assert load_task("stsb", tmp_path).scores == [3.0, 1.0]  # the test part


def test_classification_and_retrieval_by_their_layout(tmp_path):
    (tmp_path / "banks").mkdir()
    for name in ("train", "test"):
        (tmp_path / "banks" / f"{name}.csv").write_text("text,label\nlost card,card\nhow much,rates\n")
    found = load_task("banks", tmp_path)
    assert isinstance(found, ClassificationTask) and found.test_labels == ["card", "rates"]
    folder = tmp_path / "facts"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        "\n".join(json.dumps({"_id": f"d{i}", "title": "" if i else "T", "text": f"text {i}"}) for i in range(3))
    )
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "a query"}\n{"_id": "q2", "text": "not judged"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td2\t1\nq1\td0\t0\n")
    found = load_task("facts", tmp_path)
    assert isinstance(found, RetrievalTask)
    assert found.documents["d0"] == "T text 0" and found.documents["d1"] == "text 1"
    assert found.queries == {"q1": "a query"} and found.relevant == {"q1": {"d2": 1.0}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sentence1\tsentence2\tscore\nA\tB\tclose\n", r"score is 'close', allowed is a number"),
        ("sentence1\tsentence2\tscore\nA\tB\tnan\n", r"score is 'nan', allowed is a number"),
        ("sentence1\tsentence2\tscore\nA\tB\t2\nC\tD\t2\n", "at least two different ones"),
        ("sentence1\tscore\nA\t2\n", "sentence2"),
        ("sentence1\tsentence2\tscore\n", "has no rows|no data rows|empty"),
    ],
)
def test_faults_of_a_file(tmp_path, text, message):
    (tmp_path / "sts.tsv").write_text(text)
    with pytest.raises(DataError, match=message):
        load_task("sts", tmp_path)


def test_a_misspelt_task_names_those_that_are_there(tmp_path):
    (tmp_path / "sts12.tsv").write_text("x")
    with pytest.raises(DataError, match=r"task 'sts21': .* it has sts12"):
        load_task("sts21", tmp_path)
    with pytest.raises(DataError, match="is no folder; give the one that holds the tasks' files"):
        load_task("sts12", tmp_path / "lost")


def test_a_label_that_can_not_be_learned_and_an_answer_that_is_not_there(tmp_path):
    (tmp_path / "banks").mkdir()
    (tmp_path / "banks" / "train.csv").write_text("text,label\na,one\nb,two\n")
    (tmp_path / "banks" / "test.csv").write_text("text,label\nc,three\n")
    with pytest.raises(DataError, match=r"the label 'three' is not in train.csv"):
        load_task("banks", tmp_path)
    folder = tmp_path / "facts"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "text": "t"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "t"}\n')
    (folder / "qrels_test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td2\t1\n")
    with pytest.raises(DataError, match=r"corpus-id 'd2' is not in corpus.jsonl"):
        load_task("facts", tmp_path)
