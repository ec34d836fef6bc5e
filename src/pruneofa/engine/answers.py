"""From a question-answering head's logits to a span of the context."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "best_span"]


@dataclass(frozen=True)
class Answer:
    """A span of the context: `text == context[start:end]`; `score` is the product of both ends' probabilities."""

    text: str
    start: int
    end: int
    score: float


def best_span(
    logits: NDArray[np.float32], spans: NDArray[np.int64], max_answer_tokens: int
) -> tuple[float, int, int] | None:
    """The likeliest span of one window: (score, first character, end), or None where no token is of the context.

    Args:
        logits: [T, 2], for start and end.
        spans: [T, 2], each token's characters in the context, -1 for other tokens.
        max_answer_tokens: The longest span.
    """
    inside = np.flatnonzero(spans[:, 0] >= 0)
    if not inside.size:
        return None
    # Over the tokens of the context alone; these are consecutive.
    start, end = (_softmax(logits[inside, side].astype(np.float64)) for side in (0, 1))
    scores = np.triu(start[:, None] * end[None, :])
    scores = scores - np.triu(scores, max_answer_tokens)
    first, last = np.unravel_index(int(np.argmax(scores)), scores.shape)
    return float(scores[first, last]), int(spans[inside[first], 0]), int(spans[inside[last], 1])


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials: NDArray[np.float64] = np.exp(values - values.max())
    exponentials /= exponentials.sum()
    return exponentials
