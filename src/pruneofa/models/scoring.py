"""What a task model gets right on a split: metrics, and a record for every example."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneofa.data.metrics.answer_metrics import AnswerScore, answer_metrics, answer_scores
from pruneofa.data.metrics.task_metrics import TaskKind, classification_metrics, regression_metrics
from pruneofa.data.tasks.answers import Answer, best_answers
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.encoded import EncodedDataset
from pruneofa.data.tasks.loading import Split
from pruneofa.data.tasks.windows import WindowDataset

Predictions = Mapping[str, Sequence[npt.NDArray[Any]]]
"""Name of a model's output -> a row for each example (or window), in the split's order."""


def metrics_of(task: TaskConfig, kind: TaskKind, split: Split, predictions: Predictions) -> dict[str, float]:
    """The task's metrics of a model's predictions: all are shares of one or correlations, but for `mse`.

    A classification has its accuracy, and the task's own metric where that is another; a regression both correlations
    and the mean squared error; question answering exact match and F1. Examples without a label don't count; where none
    has one there are no metrics.
    """
    if isinstance(split, WindowDataset):
        return _scored_answers(task, split, predictions)[0]
    known = split.labelled
    if not known.any():
        return {}
    logits, labels = np.asarray(predictions["logits"])[known], split.labels[known]
    if kind == "regression":
        return regression_metrics(logits, labels)
    return classification_metrics(logits, labels, list(dict.fromkeys(["accuracy", task.metric_of(kind)])))


def scored(
    task: TaskConfig, kind: TaskKind, split: Split, predictions: Predictions, label_names: Sequence[str] | None
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The metrics, and one record for each example (or question) in the split's order, fit for JSON.

    A record has the input (`text`, or `id` and `question`), what is right (`label`, null where nobody has said so;
    `answers`), the `prediction`, and what it is based on (`logits`; `n_best` and the scores).
    """
    if isinstance(split, WindowDataset):
        metrics, answers, scores = _scored_answers(task, split, predictions)
        return metrics, [
            _answer_record(question.id, question.question, question.answers, answers[question.id], scores)
            for question in split.questions
        ]
    metrics = metrics_of(task, kind, split, predictions)
    logits = np.asarray(predictions["logits"])
    if kind == "regression":
        return metrics, [
            {"text": text, "label": float(label) if known else None, "prediction": float(row[0])}
            for text, label, known, row in zip(split.texts, split.labels, split.labelled, logits, strict=True)
        ]
    assert label_names is not None
    return metrics, [
        {
            "text": text,
            "label": label_names[label] if known else None,
            "prediction": label_names[int(row.argmax())],
            "logits": [float(value) for value in row],
        }
        for text, label, known, row in zip(split.texts, split.labels, split.labelled, logits, strict=True)
    ]


def trainers_metrics(task: TaskConfig, kind: TaskKind, split: Split) -> Callable[[Any], dict[str, float]]:
    """What transformers' Trainer calls with its predictions on `split`, for the metrics it logs while training."""

    def compute(evaluation: Any) -> dict[str, float]:
        found = evaluation.predictions
        if kind == "question_answering":
            return metrics_of(task, kind, split, {"start_logits": found[0], "end_logits": found[1]})
        return metrics_of(task, kind, split, {"logits": found[0] if isinstance(found, tuple) else found})

    return compute


def is_unanswerable(task: TaskConfig, split: WindowDataset) -> bool:
    """Whether questions may have no answer: what the task says, else whether one of the split has none."""
    wanted = task.question_answering.unanswerable
    return any(not question.answers for question in split.questions) if wanted is None else wanted


def _scored_answers(
    task: TaskConfig, split: WindowDataset, predictions: Predictions
) -> tuple[dict[str, float], dict[str, Answer], dict[str, AnswerScore]]:
    unanswerable = is_unanswerable(task, split)
    answers = best_answers(
        split,
        predictions["start_logits"],
        predictions["end_logits"],
        task.question_answering,
        unanswerable=unanswerable,
    )
    gold = split.gold_answers
    scores = answer_scores({name: answer.text for name, answer in answers.items()}, gold, unanswerable=unanswerable)
    return answer_metrics(scores, gold, unanswerable=unanswerable), answers, scores


def _answer_record(
    identity: str, question: str, gold: Sequence[str], answer: Answer, scores: Mapping[str, AnswerScore]
) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": identity,
        "question": question,
        "answers": list(gold),
        "prediction": answer.text,
        "start": answer.start,
        "exact_match": scores[identity].exact_match,
        "f1": scores[identity].f1,
        "n_best": answer.n_best,
    }
    if answer.null_score_difference is not None:
        record["null_score_difference"] = answer.null_score_difference
    return record


def examples_of(split: Split) -> int:
    """How many examples (or questions) a split has."""
    return len(split) if isinstance(split, EncodedDataset) else len(split.questions)
