"""Questions on texts: rows of any source as questions with their gold answers, checked."""

import logging
from dataclasses import dataclass
from typing import Any

from pruneofa.data.sources.rows import Row, column_value, text_value
from pruneofa.errors import DataError

__all__ = ["Question", "read_questions", "trainable_questions"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Question:
    """A question on a text.

    Attributes:
        id: names it in predictions.
        question: as asked.
        context: the text that holds the answer.
        answers: the gold answers; none where the text doesn't answer the question.
        starts: where each answer begins in the context, in characters.
        origin: where it was read.
    """

    id: str
    question: str
    context: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]
    origin: str


def read_questions(rows: list[Row]) -> list[Question]:
    """Rows with the columns `question`, `context`, `answers` and, if they have it, `id`, as questions.

    `answers` is a list of `{"text", "answer_start"}`, or `{"text": [...], "answer_start": [...]}` as the hub has it.

    Raises:
        DataError: a column is missing or of another form, or two rows have the same id.
    """
    questions = []
    seen: dict[str, str] = {}
    for number, row in enumerate(rows):
        identity = str(row["id"]) if row.get("id") is not None else str(number)
        if identity in seen:
            raise DataError(f"{row.origin}: the id {identity!r} was used at {seen[identity]}; give each its own")
        seen[identity] = row.origin
        answers, starts = _answers(column_value(row, "answers"), row.origin)
        questions.append(
            Question(identity, text_value(row, "question"), text_value(row, "context"), answers, starts, row.origin)
        )
    return questions


def trainable_questions(questions: list[Question]) -> tuple[list[Question], dict[str, int]]:
    """The questions as they can be trained on, and how many were moved or dropped.

    An answer has to stand in its context where `answer_start` says. If it stands elsewhere, the occurrence nearest to
    that place is taken ("moved"); if nowhere, the question is left out ("dropped"). Only the first answer is trained
    on, as in SQuAD's training set there is only one.

    Raises:
        DataError: nothing is left.
    """
    kept: list[Question] = []
    counts = {"answer moved": 0, "answer not in context": 0}
    for question in questions:
        if not question.answers:
            kept.append(question)
            continue
        start = _place(question)
        if start is None:
            if not counts["answer not in context"]:
                logger.warning("%s: the answer %r is not in its context", question.origin, question.answers[0][:60])
            counts["answer not in context"] += 1
            continue
        if start != question.starts[0]:
            counts["answer moved"] += 1
        answer = question.answers[0]
        kept.append(Question(question.id, question.question, question.context, (answer,), (start,), question.origin))
    found = {reason: count for reason, count in counts.items() if count}
    for reason, count in found.items():
        logger.warning("train: %d of %d questions: %s", count, len(questions), reason)
    if not kept:
        raise DataError(f"train: of {len(questions)} questions none has its answer in its context; check the source")
    return kept, found


def _place(question: Question) -> int | None:
    """Where the first answer stands: at its start, else at the nearest place; None if nowhere."""
    answer, start, context = question.answers[0], question.starts[0], question.context
    if not answer.strip():
        return None
    if context.startswith(answer, start):
        return start
    before, after = context.rfind(answer, 0, start + len(answer)), context.find(answer, start)
    places = [place for place in (before, after) if place >= 0]
    return min(places, key=lambda place: abs(place - start)) if places else None


def _answers(value: Any, origin: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    fault = DataError(
        f"{origin}: column 'answers' holds {str(value)[:60]!r}; needed: a list of objects with text and answer_start, "
        "or an object with the lists text and answer_start"
    )
    if isinstance(value, dict):
        texts, starts = value.get("text"), value.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise fault
    elif isinstance(value, list) and all(isinstance(answer, dict) for answer in value):
        texts, starts = [answer.get("text") for answer in value], [answer.get("answer_start") for answer in value]
    else:
        raise fault
    if not all(isinstance(text, str) for text in texts):
        raise fault
    if not all(isinstance(start, int) and not isinstance(start, bool) and start >= 0 for start in starts):
        raise fault
    return tuple(texts), tuple(starts)
