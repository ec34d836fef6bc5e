"""Questions on texts: rows of any source as questions with their gold answers, checked."""

import logging
from dataclasses import dataclass
from typing import Any

from pruneofa.data.sources.rows import Row, column_value, text_value
from pruneofa.errors import DataError
from pruneofa.texts import text_fault

__all__ = ["Question", "check_question", "read_questions", "trainable_questions"]

logger = logging.getLogger(__name__)

_LISTED = 5


@dataclass(frozen=True)
class Question:
    """A question on a text.

    Attributes:
        id: names it in predictions.
        question: as asked.
        context: the text that holds the answer.
        answers: the gold answers; none where the text doesn't answer the question.
        starts: where each answer begins in the context, in characters; -1 where the row gives no place in a text.
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
    An `answer_start` that is no place in a text (-1, null, absent, no number) says that the place is not known.

    Raises:
        DataError: a column is missing or of another form, or two rows have the same id.
    """
    seen: dict[str, str] = {}
    return [_question(row, str(number), seen) for number, row in enumerate(rows)]


def check_question(row: Row, seen: dict[str, str]) -> None:
    """Raise a DataError if `read_questions` can't read a row.

    Args:
        row: any.
        seen: id -> origin of the rows before it; the row's own is added.
    """
    _question(row, "", seen)


def _question(row: Row, number: str, seen: dict[str, str]) -> Question:
    identity = str(row["id"]) if row.get("id") is not None else number
    if identity in seen and identity:
        raise DataError(f"{row.origin}: the id {identity!r} was used at {seen[identity]}; give each its own")
    answers, starts = _answers(column_value(row, "answers"), row.origin)
    question = Question(identity, text_value(row, "question"), text_value(row, "context"), answers, starts, row.origin)
    seen[identity] = row.origin
    return question


def trainable_questions(questions: list[Question], *, stop: bool = False) -> tuple[list[Question], dict[str, int]]:
    """The questions as they can be trained on, and how many were moved or dropped.

    An answer has to stand in its context where `answer_start` says. If it stands elsewhere, the occurrence nearest to
    that place is taken, the first one where no place is given ("moved"); if nowhere, the question is left out
    ("dropped"). Only the first answer is trained on, as in SQuAD's training set there is only one.

    Args:
        questions: as read.
        stop: an answer that stands nowhere in its context is an error.

    Raises:
        DataError: nothing is left, or `stop`.
    """
    kept: list[Question] = []
    counts = {"answer moved": 0, "answer not in context": 0}
    for question in questions:
        if not question.answers:
            kept.append(question)
            continue
        start = _place(question)
        if start is None:
            message = f"{question.origin}: the answer {question.answers[0][:60]!r} is not in its context"
            if stop:
                raise DataError(f"{message}; correct it, or pass --on_error drop (task.on_error)")
            if counts["answer not in context"] < _LISTED:
                logger.warning("%s", message)
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
    if start < 0:
        return found if (found := context.find(answer)) >= 0 else None
    if context.startswith(answer, start):
        return start
    before, after = context.rfind(answer, 0, start + len(answer)), context.find(answer, start)
    places = [place for place in (before, after) if place >= 0]
    return min(places, key=lambda place: abs(place - start)) if places else None


def _answers(value: Any, origin: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    texts: list[Any]
    if isinstance(value, dict):
        texts, starts = _listed(value.get("text")), _listed(value.get("answer_start"))
        if len(starts) != len(texts):  # which belongs to which is not known
            starts = [None] * len(texts)
    elif isinstance(value, list):
        texts = [answer.get("text") if isinstance(answer, dict) else answer for answer in value]
        starts = [answer.get("answer_start") if isinstance(answer, dict) else None for answer in value]
    else:
        texts, starts = [value], [None]
    for text in texts:
        if (fault := text_fault(text)) is not None:
            raise DataError(
                f"{origin}: column 'answers' holds {str(value)[:60]!r}, of which one {fault[0]}; needed: a list of "
                "objects with text and answer_start, or an object with the lists text and answer_start"
            )
    return tuple(map(str, texts)), tuple(map(_start, starts))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _start(value: Any) -> int:
    """The place that a row gives: a whole number, also as a float or in text; -1 for anything else."""
    if isinstance(value, str | float):
        try:
            number = float(value)
        except ValueError:
            return -1
        value = int(number) if number.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else -1
