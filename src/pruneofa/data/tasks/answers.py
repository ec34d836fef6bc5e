"""From start and end logits to answers in the words of the text (Devlin et al. 2019, sections 4.2 and 4.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneofa.data.tasks.config import QuestionAnsweringConfig
from pruneofa.data.tasks.windows import WindowDataset

__all__ = ["Answer", "best_answers"]

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Answer:
    """What a model answers to one question.

    Attributes:
        text: the answer, a stretch of the context; "" for none.
        start: its first character in the context; None for no answer.
        n_best: the best answers with their scores (sums of logits) and probabilities among themselves.
        null_score_difference: score of "no answer" less that of the best answer; None where there always is one.
    """

    text: str
    start: int | None
    n_best: list[dict[str, Any]]
    null_score_difference: float | None


def best_answers(
    windows: WindowDataset,
    start_logits: Sequence[FloatArray],
    end_logits: Sequence[FloatArray],
    config: QuestionAnsweringConfig,
    *,
    unanswerable: bool,
) -> dict[str, Answer]:
    """The best answer to each question.

    In every window the `n_best` highest starts and ends within the context are combined; a pair counts where the end
    is not before the start and the answer has at most `max_answer_length` tokens. Its score is the sum of both logits.
    The highest score over all windows of a question wins. "No answer" scores the opening token's two logits, the lowest
    over the windows; it wins where it is above the best answer by more than `null_threshold`.

    Args:
        windows: what the model saw.
        start_logits: for each window, at least as many as it has tokens; further ones (padding) are not looked at.
        end_logits: likewise.
        config: see there.
        unanswerable: whether there may be no answer.
    """
    candidates: dict[int, list[tuple[float, int, int]]] = {}
    null_scores: dict[int, float] = {}
    for window, question in enumerate(windows.question_of.tolist()):
        starts, ends = start_logits[window], end_logits[window]
        null = float(starts[0]) + float(ends[0])
        null_scores[question] = min(null_scores.get(question, null), null)
        first, offsets = int(windows.context_begin[window]), windows.offsets[window]
        inside = slice(first, first + len(offsets))
        found = candidates.setdefault(question, [])
        for score, start, end in _spans(starts[inside], ends[inside], config):
            found.append((score, int(offsets[start, 0]), int(offsets[end, 1])))
    answers = {}
    for number, question in enumerate(windows.questions):
        best = sorted(candidates.get(number, []), key=lambda span: -span[0])[: config.n_best]
        answers[question.id] = _chosen(question.context, best, null_scores[number] if unanswerable else None, config)
    return answers


def _spans(starts: FloatArray, ends: FloatArray, config: QuestionAnsweringConfig) -> list[tuple[float, int, int]]:
    """The best `n_best` spans of one window's context as (score, first token, last token), best first."""
    first = np.argsort(-starts, kind="stable")[: config.n_best]
    last = np.argsort(-ends, kind="stable")[: config.n_best]
    lengths = last[None, :] - first[:, None] + 1
    scores = starts[first].astype(np.float64)[:, None] + ends[last].astype(np.float64)[None, :]
    scores[(lengths < 1) | (lengths > config.max_answer_length)] = -np.inf
    order = np.argsort(-scores, axis=None, kind="stable")[: config.n_best]
    rows, columns = np.unravel_index(order, scores.shape)
    return [
        (float(scores[row, column]), int(first[row]), int(last[column]))
        for row, column in zip(rows, columns, strict=True)
        if np.isfinite(scores[row, column])
    ]


def _chosen(
    context: str, best: list[tuple[float, int, int]], null: float | None, config: QuestionAnsweringConfig
) -> Answer:
    entries: list[dict[str, Any]] = [
        {"text": context[start:end], "start": start, "score": score} for score, start, end in best
    ]
    if null is not None:
        entries.append({"text": "", "start": None, "score": null})
        entries.sort(key=lambda entry: -entry["score"])
    if entries:
        scores = np.array([entry["score"] for entry in entries])
        shares = np.exp(scores - scores.max())
        for entry, share in zip(entries, shares / shares.sum(), strict=True):
            entry["probability"] = float(share)
    difference = None if null is None or not best else null - best[0][0]
    if not best or (difference is not None and difference > config.null_threshold):
        return Answer("", None, entries, difference)
    _, start, end = best[0]
    return Answer(context[start:end], start, entries, difference)
