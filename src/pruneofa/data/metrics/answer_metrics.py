"""Exact match and F1 of answers, as SQuAD's official scripts compute them.

`pruneofa` counts in shares of one where the scripts print percent. The library metric (torchmetrics) follows the
script of version 1.1 but adds up in float32, gives no figure by question and knows no version 2.0, so the rules are
here; tests hold them against it and against the scripts' own words.
"""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["AnswerScore", "answer_metrics", "answer_scores", "normalized_answer"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class AnswerScore:
    """Exact match (0 or 1) and F1 of one question, the best over its gold answers; both in [0, 1]."""

    exact_match: float
    f1: float


def normalized_answer(text: str) -> str:
    """Lower case, without ASCII punctuation and the articles a, an, the; whitespace becomes one space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def answer_scores(
    predictions: Mapping[str, str], gold_answers: Mapping[str, Sequence[str]], *, unanswerable: bool
) -> dict[str, AnswerScore]:
    """Exact match and F1 by question.

    A question without a prediction counts 0 in version 1.1 and is left out in version 2.0, each as its script does.

    Args:
        predictions: question -> answer; "" for "there is none".
        gold_answers: question -> the answers that count as right; none for one that has no answer.
        unanswerable: the rules of version 2.0, where questions may have no answer, else those of version 1.1.
    """
    scores = {}
    for question, answers in gold_answers.items():
        if question not in predictions:
            if not unanswerable:
                scores[question] = AnswerScore(0.0, 0.0)
            continue
        gold = [normalized_answer(answer) for answer in answers]
        if unanswerable:
            # An answer that is nothing but articles and punctuation is none; a question without any wants silence.
            gold = [answer for answer in gold if answer] or [""]
        found = normalized_answer(predictions[question])
        scores[question] = AnswerScore(
            max((float(found == answer) for answer in gold), default=0.0),
            max((_f1(found, answer, empty_agrees=unanswerable) for answer in gold), default=0.0),
        )
    return scores


def answer_metrics(
    scores: Mapping[str, AnswerScore], gold_answers: Mapping[str, Sequence[str]], *, unanswerable: bool
) -> dict[str, float]:
    """Means over the questions, in [0, 1]; in version 2.0 also over those with and without an answer.

    Args:
        scores: of `answer_scores`.
        gold_answers: as given there.
        unanswerable: as given there.
    """
    metrics = _means(list(scores.values()))
    if unanswerable:
        for prefix, wanted in (("has_answer", True), ("no_answer", False)):
            part = [score for question, score in scores.items() if bool(gold_answers[question]) == wanted]
            if part:
                metrics |= {f"{prefix}_{name}": value for name, value in _means(part).items()}
    return metrics


def _means(scores: Sequence[AnswerScore]) -> dict[str, float]:
    count = max(1, len(scores))
    return {
        "exact_match": sum(score.exact_match for score in scores) / count,
        "f1": sum(score.f1 for score in scores) / count,
    }


def _f1(found: str, gold: str, *, empty_agrees: bool) -> float:
    """F1 of the bags of words of two normalised answers."""
    found_words, gold_words = found.split(), gold.split()
    if not found_words or not gold_words:
        # Two answers without a word agree in version 2.0; in 1.1 they share no word, so they count 0.
        return float(empty_agrees and found_words == gold_words)
    shared = sum((Counter(found_words) & Counter(gold_words)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(found_words), shared / len(gold_words)
    return 2 * precision * recall / (precision + recall)
