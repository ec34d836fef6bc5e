"""Questions from rows: forms of answers, and the rule for an answer that is not where it should be."""

import pytest

from pruneofa.data.sources.rows import Row
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
    [None, 7, [1], [None], {}, {"text": [None]}, [{"text": 1, "answer_start": 0}], [{"answer_start": 3}]],
)
def test_answers_of_another_form(answers):
    with pytest.raises(
        DataError, match=r"f\.jsonl:7: column 'answers' holds .* not a text.* needed: a list of objects"
    ):
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


@pytest.mark.parametrize("start", [-1, "22", 22.0, None, "nowhere", 2.5, True, float("nan"), 10**30])
def test_a_start_that_is_none_is_taken_from_the_text(start):
    question = one("dog", start)[0]
    assert question.starts == ({"22": 22, 22.0: 22, 10**30: 10**30}.get(start, -1),)
    kept, counts = trainable_questions([question])
    assert kept[0].starts == (41,) and counts == {"answer moved": 1}


@pytest.mark.parametrize(
    "answers",
    [
        [{"text": "cat"}], ["cat"], "cat", {"text": ["cat"]}, {"text": "cat"}, {"text": ["cat"], "answer_start": []},
        {"text": ["cat"], "answer_start": [1, 2]}, [{"text": "cat", "answer_start": None}],
    ],
)  # fmt: skip
def test_without_a_start_the_first_place_is_taken(answers):
    kept, _ = trainable_questions(read_questions([row(answers)]))
    assert (kept[0].answers, kept[0].starts) == (("cat",), (4,))


def test_an_answer_that_is_nowhere_is_an_error_where_that_is_asked_for():
    with pytest.raises(DataError, match=r"f\.jsonl:7: the answer 'cow' is not in its context; correct it, or pass"):
        trainable_questions(one("cat", 4) + read_questions([row([{"text": "cow"}], id="r")]), stop=True)
