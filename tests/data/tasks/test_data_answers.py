"""Answers from logits, beside a search over every span."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneofa.data.tasks.answers import best_answers
from pruneofa.data.tasks.config import QuestionAnsweringConfig, TaskConfig
from pruneofa.data.tasks.questions import Question
from pruneofa.data.tasks.windows import encode_questions

CONTEXT = "the good film was a bad plot and one two three films is not of the very good"


def windows_of(tokenizer, contexts=(CONTEXT,)):
    questions = [Question(f"q{i}", "was the film good", text, (), (), "f") for i, text in enumerate(contexts)]
    config = TaskConfig(
        train="t", evaluation="e", max_length=16, question_answering={"stride": 3, "max_question_length": 5}
    )
    return encode_questions(questions, tokenizer, config)


def every_span(windows, starts, ends, longest):
    """All (score, text) of each question, best first."""
    found = {}
    for window, question in enumerate(windows.question_of):
        first, offsets = windows.context_begin[window], windows.offsets[window]
        for begin, end in itertools.product(range(len(offsets)), repeat=2):
            if begin <= end < begin + longest:
                score = float(starts[window][first + begin]) + float(ends[window][first + end])
                text = windows.questions[question].context[offsets[begin, 0] : offsets[end, 1]]
                found.setdefault(question, []).append((score, text))
    return {question: sorted(spans, key=lambda span: -span[0]) for question, spans in found.items()}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_the_best_span_of_all_windows_wins(bert_tokenizer, seed, longest):
    windows = windows_of(bert_tokenizer, (CONTEXT, "a bad film", CONTEXT.replace("bad", "good")))
    random = np.random.default_rng(seed)
    starts, ends = ([random.normal(size=length).astype(np.float32) for length in windows.lengths] for _ in range(2))
    config = QuestionAnsweringConfig(max_answer_length=longest, n_best=200)
    answers = best_answers(windows, starts, ends, config, unanswerable=False)
    for number, spans in every_span(windows, starts, ends, longest).items():
        answer = answers[f"q{number}"]
        assert answer.text == spans[0][1]
        assert windows.questions[number].context[answer.start :].startswith(answer.text)
        np.testing.assert_allclose([entry["score"] for entry in answer.n_best], [score for score, _ in spans[:200]])
        assert sum(entry["probability"] for entry in answer.n_best) == pytest.approx(1)
        assert answer.null_score_difference is None


def test_padding_question_and_opening_token_are_no_answer(bert_tokenizer):
    windows = windows_of(bert_tokenizer, ("a bad film",))
    length = int(windows.lengths[0])
    logits = np.full(length + 5, 9.0, np.float32)
    logits[windows.context_begin[0] : windows.context_begin[0] + 3] = [0.0, 1.0, 0.5]
    answers = best_answers(windows, [logits], [logits], QuestionAnsweringConfig(), unanswerable=False)
    assert answers["q0"].text == "bad"


@pytest.mark.parametrize(("threshold", "text"), [(0.0, ""), (2.9, ""), (3.1, "bad")])
def test_no_answer_wins_by_more_than_the_threshold(bert_tokenizer, threshold, text):
    windows = windows_of(bert_tokenizer, ("a bad film",))
    logits = np.zeros(int(windows.lengths[0]), np.float32)
    logits[0], logits[windows.context_begin[0] + 1] = 2.5, 1.0
    config = QuestionAnsweringConfig(null_threshold=threshold)
    answer = best_answers(windows, [logits], [logits], config, unanswerable=True)["q0"]
    assert (answer.text, answer.null_score_difference) == (text, pytest.approx(3.0))
    assert answer.n_best[0] == {"text": "", "start": None, "score": 5.0, "probability": answer.n_best[0]["probability"]}
    assert best_answers(windows, [logits], [logits], config, unanswerable=False)["q0"].text == "bad"


def test_the_lowest_score_of_no_answer_counts(bert_tokenizer):
    windows = windows_of(bert_tokenizer)
    logits = [np.zeros(length, np.float32) for length in windows.lengths]
    logits[0][0] = 50.0  # a window that doesn't hold the answer is right to see none
    answer = best_answers(windows, logits, logits, QuestionAnsweringConfig(), unanswerable=True)["q0"]
    assert len(windows) > 1 and answer.null_score_difference == 0.0 and answer.text


def test_without_a_context_there_is_no_answer(bert_tokenizer):
    windows = windows_of(bert_tokenizer, ("",))
    logits = [np.zeros(windows.lengths[0], np.float32)]
    for unanswerable in (False, True):
        answer = best_answers(windows, logits, logits, QuestionAnsweringConfig(), unanswerable=unanswerable)["q0"]
        assert (answer.text, answer.start, answer.null_score_difference) == ("", None, None)
