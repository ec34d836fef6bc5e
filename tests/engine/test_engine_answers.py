"""The span that a question-answering head points at."""

import numpy as np

from pruneofa.engine.answers import Span, best_span, chosen_answer

SPANS = np.array([[-1, -1], [-1, -1], [0, 2], [3, 5], [6, 8], [-1, -1]])


def logits(start, end):
    values = np.zeros((6, 2), dtype=np.float32)
    values[start, 0] = values[end, 1] = 10
    return values


def test_the_likeliest_span():
    span = best_span(logits(2, 3), SPANS, 30)
    assert (span.start, span.end, span.logits) == (0, 5, 20)
    assert 0.99 < span.score < 1


def test_a_span_does_not_run_backwards():
    span = best_span(logits(4, 2), SPANS, 30)
    assert span.start < span.end


def test_special_tokens_are_no_answer():
    values = np.zeros((6, 2), dtype=np.float32)
    values[0] = 50
    values[3] = 1
    span = best_span(values, SPANS, 30)
    assert (span.start, span.end) == (3, 5)


def test_the_longest_span():
    span = best_span(logits(2, 4), SPANS, 3)
    assert (span.start, span.end) == (0, 8)
    span = best_span(logits(2, 4), SPANS, 1)
    assert (span.start, span.end) in {(0, 2), (6, 8)}


def test_no_token_of_the_context():
    assert best_span(logits(0, 1), np.full((6, 2), -1), 30) is None


def test_the_best_window_wins_by_its_logits_not_by_its_own_probabilities():
    sure_of_little, unsure_of_much = Span(4.0, 0.99, 0, 2), Span(9.0, 0.3, 3, 5)
    answer = chosen_answer("ab cd", [sure_of_little, None, unsure_of_much], 1.0, None)
    assert (answer.text, answer.score, answer.null_score_difference) == ("cd", 0.3, -8.0)


def test_no_answer_where_its_score_is_above_the_threshold():
    span = Span(4.0, 0.9, 0, 2)
    none = chosen_answer("ab cd", [span], 6.0, 0.0)
    assert (none.text, none.start, none.end, none.null_score_difference) == ("", 0, 0, 2.0)
    assert none.score == 1 / (1 + np.exp(-2.0))
    assert chosen_answer("ab cd", [span], 6.0, 2.5).text == "ab"
    assert chosen_answer("ab cd", [span], 6.0, None).text == "ab"
    assert chosen_answer("ab cd", [None], 6.0, None) is None
