"""Questions from rows: forms of answers, and the rule for an answer that is not where it should be."""

import json

import pytest

from pruneofa.data.sources.rows import Row
from pruneofa.data.sources.squad_file import read_squad_file
from pruneofa.data.tasks.questions import read_questions, trainable_questions
from pruneofa.errors import DataError

CONTEXT = "The cat sat. The cat slept on the mat. A dog came."


def row(answers, **more):
    values = {"id": "q", "question": "Who?", "context": CONTEXT, "answers": answers} | more
    return Row(values, "f.jsonl:7")


def one(text, start):
    return read_questions([row([{"text": text, "answer_start": start}])])


def test_both_forms_of_answers_are_the_same():
    listed = read_questions([row([{"text": "cat", "answer_start": 4}, {"text": "dog", "answer_start": 41}])])
    columns = read_questions([row({"text": ["cat", "dog"], "answer_start": [4, 41]})])
    assert listed == columns
    assert (listed[0].answers, listed[0].starts) == (("cat", "dog"), (4, 41))
    assert read_questions([row([])])[0].answers == ()


def test_ids_are_given_or_counted():
    rows = [row([]), Row({"question": "a", "context": "b", "answers": []}, "f:8")]
    assert [question.id for question in read_questions(rows)] == ["q", "1"]
    with pytest.raises(DataError, match=r"f\.jsonl:7: the id 'q' was used at f\.jsonl:7; give each its own"):
        read_questions([row([]), row([])])


@pytest.mark.parametrize(
    "answers",
    [None, "cat", [1], {"text": ["a"]}, {"text": ["a"], "answer_start": []}, [{"text": "a"}],
     [{"text": 1, "answer_start": 0}], [{"text": "a", "answer_start": -1}], [{"text": "a", "answer_start": "0"}]],
)  # fmt: skip
def test_answers_of_another_form(answers):
    with pytest.raises(DataError, match=r"f\.jsonl:7: column 'answers' holds .*; needed: a list of objects with text"):
        read_questions([row(answers)])


@pytest.mark.parametrize(
    ("text", "start", "place"), [("cat", 4, 4), ("cat", 5, 4), ("cat", 15, 17), ("cat", 400, 17), ("dog", 0, 41)]
)
def test_an_answer_elsewhere_is_taken_where_it_is_nearest(text, start, place):
    questions, counts = trainable_questions(one(text, start))
    assert questions[0].starts == (place,)
    assert CONTEXT[place : place + len(text)] == text
    assert counts == ({} if start == place else {"answer moved": 1})


def test_an_answer_that_is_nowhere_is_dropped_counted_and_told(caplog):
    questions = one("cat", 4) + read_questions([row([{"text": "cow", "answer_start": 4}], id="r")])
    kept, counts = trainable_questions(questions)
    assert [question.id for question in kept] == ["q"]
    assert counts == {"answer not in context": 1}
    assert "f.jsonl:7: the answer 'cow' is not in its context" in caplog.text
    assert "train: 1 of 2 questions: answer not in context" in caplog.text
    for lost in ("cow", " "):
        with pytest.raises(DataError, match="train: of 1 questions none has its answer in its context"):
            trainable_questions(one(lost, 0))


def test_of_several_answers_the_first_is_trained_on_and_none_is_kept():
    several = read_questions([row({"text": ["cat", "dog"], "answer_start": [4, 41]}), row([], id="r")])
    kept, counts = trainable_questions(several)
    assert (kept[0].answers, kept[1].answers, counts) == (("cat",), (), {})


class TestSquadFile:
    def test_rows(self, tmp_path):
        answers = [{"text": "cat", "answer_start": 4}]
        document = {"version": "1.1", "data": [{"title": "Cats", "paragraphs": [{"context": CONTEXT, "qas": [
            {"id": "a", "question": "Who?", "answers": answers},
            {"id": 7, "question": "What?", "answers": answers, "is_impossible": True},
        ]}]}]}  # fmt: skip
        path = tmp_path / "a.json"
        path.write_text(json.dumps(document, indent=1))
        rows = list(read_squad_file(path))
        assert rows == [
            {"id": "a", "title": "Cats", "context": CONTEXT, "question": "Who?", "answers": answers},
            {"id": "7", "title": "Cats", "context": CONTEXT, "question": "What?", "answers": []},
        ]
        assert rows[1].origin == f"{path}: data[0].paragraphs[0].qas[1]"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "broken JSON"),
            ("[" * 100_000, "broken JSON"),
            ('{"data": "\\ud800"}', "broken JSON .*surrogates"),
            ("[]", r"document\.data is missing, must be list; needed: SQuAD's JSON layout"),
            ('{"data": []}', "is empty: it holds no question"),
            ('{"data": [{}]}', r"data\[0\]\.paragraphs is missing"),
            ('{"data": [7]}', r"data\[0\]\.paragraphs is missing"),
            ('{"data": [{"paragraphs": [{"context": 3}]}]}', r"paragraphs\[0\]\.context is int \('3'\), must be str"),
            (
                '{"data": [{"paragraphs": [{"context": "c", "qas": [{}]}]}]}',
                r"qas\[0\]\.id is missing, must be str or int",
            ),
            ('{"data": [{"paragraphs": [{"context": "c", "qas": [{"id": true}]}]}]}', r"qas\[0\]\.id is bool"),
            (
                '{"data": [{"paragraphs": [{"context": "c", "qas": [{"id": 1, "question": "q"}]}]}]}',
                r"\.answers is missing",
            ),
        ],
    )
    def test_faults_name_their_place(self, tmp_path, text, message):
        path = tmp_path / "a.json"
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            list(read_squad_file(path))

    def test_a_file_is_bounded_and_may_be_damaged(self, tmp_path, monkeypatch):
        (tmp_path / "a.json.gz").write_bytes(b"plain")
        with pytest.raises(DataError, match="damaged or cut short"):
            list(read_squad_file(tmp_path / "a.json.gz"))
        with pytest.raises(DataError, match=r"b\.json: can't be read"):
            list(read_squad_file(tmp_path / "b.json"))
        monkeypatch.setattr("pruneofa.data.sources.squad_file._MAX_BYTES", 4)
        (tmp_path / "a.json").write_text('{"data": []}')
        with pytest.raises(DataError, match="more than 4 bytes of JSON"):
            list(read_squad_file(tmp_path / "a.json"))
