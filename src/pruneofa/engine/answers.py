"""From a question-answering head's logits to a span of the context, or to none.

Spans are chosen as `pruneofa evaluate` chooses them (Devlin et al. 2019, sections 4.2 and 4.3): the highest sum of both
ends' logits over all windows.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "Span", "best_span", "chosen_answer"]

_BEST = 20
"""Best starts and ends of a window that are combined."""


@dataclass(frozen=True)
class Answer:
    """A span of the context: `text == context[start:end]`; or no answer, an empty text.

    Attributes:
        text: The span.
        start: Its first character.
        end: The character behind its last.
        score: The product of both ends' probabilities among the context's tokens; of no answer, its probability beside
            the best span's.
        null_score_difference: The score of "no answer" (the first token's logits) less that of the best span; above 0
            where a model of questions without answers says that there is none.
    """

    text: str
    start: int
    end: int
    score: float
    null_score_difference: float


@dataclass(frozen=True)
class Span:
    """A span of one window: sum of its ends' logits, product of their probabilities, first character, end."""

    logits: float
    score: float
    start: int
    end: int


def best_span(logits: NDArray[np.float32], spans: NDArray[np.int64], max_answer_tokens: int) -> Span | None:
    """The best span of one window, or None where no token is of the context.

    Args:
        logits: [T, 2], for start and end.
        spans: [T, 2], each token's characters in the context, -1 for other tokens.
        max_answer_tokens: The longest span.
    """
    inside = np.flatnonzero(spans[:, 0] >= 0)
    if not inside.size:
        return None
    # Over the tokens of the context alone; these are consecutive.
    starts, ends = (logits[inside, side].astype(np.float64) for side in (0, 1))
    first, last = (np.argsort(-values, kind="stable")[:_BEST] for values in (starts, ends))
    lengths = last[None, :] - first[:, None] + 1
    sums = starts[first][:, None] + ends[last][None, :]
    sums[(lengths < 1) | (lengths > max_answer_tokens)] = -np.inf
    row, column = np.unravel_index(int(np.argmax(sums)), sums.shape)
    if not np.isfinite(sums[row, column]):
        return None
    start, end = int(first[row]), int(last[column])
    score = _softmax(starts)[start] * _softmax(ends)[end]
    return Span(float(sums[row, column]), float(score), int(spans[inside[start], 0]), int(spans[inside[end], 1]))


def chosen_answer(
    context: str, spans: Iterable[Span | None], null_score: float, null_threshold: float | None
) -> Answer | None:
    """The best of the windows' spans, or no answer; None where no window has a span.

    Args:
        context: The text.
        spans: The best of each window.
        null_score: Sum of the first token's logits, the lowest over the windows.
        null_threshold: No answer where the difference of scores is above; None: always a span.
    """
    best = max((span for span in spans if span is not None), key=lambda span: span.logits, default=None)
    if best is None:
        return None
    difference = null_score - best.logits
    if null_threshold is not None and difference > null_threshold:
        return Answer("", 0, 0, 1 / (1 + math.exp(-difference)) if difference < 700 else 1.0, difference)
    return Answer(context[best.start : best.end], best.start, best.end, best.score, difference)


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials: NDArray[np.float64] = np.exp(values - values.max())
    exponentials /= exponentials.sum()
    return exponentials
