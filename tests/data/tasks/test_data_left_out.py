"""Rows that can't be used: one error with its place and remedy, or left out, counted and listed."""

import json

import pyarrow
import pytest
from pyarrow import parquet

from pruneofa.data.tasks.checks import check_sources
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.loading import load_evaluations, load_task
from pruneofa.errors import DataError

GOOD = "text,label\ngood film,fresh\nbad film,rotten\nvery good,fresh\nnot good,rotten\n"


def classification(write, name, content, **settings):
    return TaskConfig(train=write(name, content), evaluation=write("dev.csv", GOOD), **settings)


FAULTY = {
    "a.csv": (GOOD + 'a,b,c\n"x"y,fresh\ngood,fresh\n', r"a\.csv:6: 3 fields where the header has 2", 2, 5),
    "b.csv": (GOOD.encode() + b"na\xefve,fresh\n", r"b\.csv:6: not UTF-8 \(byte 0xef", 1, 4),
    "a.jsonl": (
        "\n".join([*(json.dumps({"text": text, "label": text[0]}) for text in ("good", "bad", "gone")),
                   '{"text": null, "label": "g"}', '{"text": NaN, "label": "g"}', '{"label": "g"}', "{", "3"]),
        r"a\.jsonl:4: column 'text' is None, a missing value, not a text; correct the row", 5, 3,
    ),
    "a.tsv": (GOOD.replace(",", "\t") + "a\n", r"a\.tsv:6: 1 fields where the header has 2", 1, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_row_is_an_error_that_names_the_remedy_or_is_left_out(name, write, bert_tokenizer, caplog):
    content, message, faulty, usable = FAULTY[name]
    for on_error in (None, "stop"):
        with pytest.raises(DataError, match=rf"{message}.*; to leave such rows out and count them, pass --on_er"):
            load_task(classification(write, name, content, on_error=on_error), bert_tokenizer)
    config = classification(write, name, content, on_error="drop")
    if name == "a.jsonl":
        config = config.model_copy(update={"evaluation": config.train})
    check_sources(config)
    data = load_task(config, bert_tokenizer)
    assert len(data.train) == usable and sum(data.statistics["dropped"]["train"].values()) == faulty
    assert "train: left out: " in caplog.text


def test_a_null_in_a_table_is_no_text(tmp_path, write, bert_tokenizer):
    path = tmp_path / "a.parquet"
    texts = ["good film", None, "bad film", "very good"]
    parquet.write_table(pyarrow.table({"text": texts, "label": ["a", "a", "b", "a"]}), path)
    config = TaskConfig(train=str(path), evaluation=str(path))
    with pytest.raises(DataError, match=r"a\.parquet row 2: column 'text' is None, a missing value, .*--on_error drop"):
        load_task(config, bert_tokenizer)
    assert (
        load_task(config.model_copy(update={"on_error": "drop"}), bert_tokenizer).train.texts == texts[::2] + texts[3:]
    )


def test_a_label_that_is_none_is_left_out_where_that_is_asked_for(write, bert_tokenizer):
    rows = [{"text": word, "label": word[0]} for word in ("good", "bad", "gone")] + [{"text": "a", "label": ["x", "y"]}]
    content = "\n".join(map(json.dumps, rows))
    with pytest.raises(DataError, match=r"a\.jsonl:4: column 'label' holds .*several labels"):
        load_task(classification(write, "a.jsonl", content, evaluation_fraction=None), bert_tokenizer)
    path = write("a.jsonl", content)
    data = load_task(TaskConfig(train=path, evaluation=path, on_error="drop"), bert_tokenizer)
    assert len(data.train) == 3 and data.statistics["dropped"]["train"] == {"rows that can't be used": 1}


def test_nothing_usable_is_an_error_with_the_first_fault(write, bert_tokenizer):
    content = '{"text": null, "label": 1}\n{"text": 3, "label": 0}\n'
    with pytest.raises(DataError, match=r"task\.train: none of 2 rows can be used; the first: .*a\.jsonl:1: column"):
        load_task(classification(write, "a.jsonl", content, on_error="drop"), bert_tokenizer)
    with pytest.raises(
        DataError, match=r"a\.csv:2: no column 'text'; columns found: 'txt', 'label'; did you mean 'txt'\?$"
    ):
        load_task(classification(write, "a.csv", GOOD.replace("text", "txt")), bert_tokenizer)


def questions(*changes):
    """Questions in SQuAD's layout, one for each change of a sound one."""
    context = "the film is good"
    answers = [{"text": "film", "answer_start": 4}]
    sound = {"question": "what is good", "answers": answers}
    asked = [{"id": str(number), **sound, **change} for number, change in enumerate(changes)]
    return json.dumps({"data": [{"title": "t", "paragraphs": [{"context": context, "qas": asked}]}]})


def start(value):
    return {"answers": [{"text": "film", "answer_start": value}]}


def test_a_faulty_question_never_ends_a_run_unless_asked(write, bert_tokenizer, caplog):
    sound = [{}] * 9
    odd = [start(-1), start("22"), start(22.0), start(None), {"answers": [{"text": "film"}]}, start(7)]
    nowhere = [{"answers": [{"text": "plot", "answer_start": 0}]}]
    faulty = [{"question": None}, {"answers": None}, {"answers": [{"text": 3, "answer_start": 1}]}, {"id": "0"}]
    path = write("a.json", questions(*sound, *odd, *nowhere, *faulty))
    config = TaskConfig(train=path, evaluation=path, question_answering={"stride": 8, "max_question_length": 8})
    check_sources(config)
    data = load_task(config, bert_tokenizer)
    assert data.kind == "question_answering"
    assert len(data.train.questions) == 15 and len(data.evaluation.questions) == 16
    assert {question.starts for question in data.train.questions} == {(4,)}
    assert data.statistics["dropped"]["train"] == {
        "rows that can't be used": 4, "answer moved": 6, "answer not in context": 1,
    }  # fmt: skip
    assert "qas[16]: column 'question' is None" in caplog.text
    splits, dropped = load_evaluations(config, "question_answering", bert_tokenizer, None)
    assert len(splits["evaluation"].questions) == 16
    assert dropped == {"evaluation": {"rows that can't be used": 4}}
    with pytest.raises(DataError, match=r"qas\[16\]: column 'question' is None, .*pass --on_error drop"):
        load_task(config.model_copy(update={"on_error": "stop"}), bert_tokenizer)


def test_a_file_of_mostly_faulty_questions_is_an_error_unless_asked(write, bert_tokenizer):
    path = write("a.json", questions({}, {"answers": None}, {"answers": None}))
    config = TaskConfig(train=path, evaluation=path, question_answering={"stride": 8, "max_question_length": 8})
    with pytest.raises(DataError, match=r"qas\[1\]: column 'answers' holds 'None'.*\(2 of 3 rows can't be used\)"):
        load_task(config, bert_tokenizer)
    assert len(load_task(config.model_copy(update={"on_error": "drop"}), bert_tokenizer).train.questions) == 1
