"""The span that a question-answering head points at."""

import numpy as np

from pruneofa.engine.answers import best_span

SPANS = np.array([[-1, -1], [-1, -1], [0, 2], [3, 5], [6, 8], [-1, -1]])


def logits(start, end):
    values = np.zeros((6, 2), dtype=np.float32)
    values[start, 0] = values[end, 1] = 10
    return values


def test_the_likeliest_span():
    score, start, end = best_span(logits(2, 3), SPANS, 30)
    assert (start, end) == (0, 5)
    assert 0.99 < score < 1


def test_a_span_does_not_run_backwards():
    _, start, end = best_span(logits(4, 2), SPANS, 30)
    assert start < end


def test_special_tokens_are_no_answer():
    values = np.zeros((6, 2), dtype=np.float32)
    values[0] = 50
    values[3] = 1
    assert best_span(values, SPANS, 30)[1:] == (3, 5)


def test_the_longest_span():
    assert best_span(logits(2, 4), SPANS, 3)[1:] == (0, 8)
    _, start, end = best_span(logits(2, 4), SPANS, 1)
    assert (start, end) in {(0, 2), (6, 8)}


def test_no_token_of_the_context():
    assert best_span(logits(0, 1), np.full((6, 2), -1), 30) is None
