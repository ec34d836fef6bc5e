"""Rows of a task that can't be used: an error, or left out, counted and listed."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable

from pruneofa.data.sources.delimited import WRONG_FIELD_COUNT
from pruneofa.data.sources.rows import Fault, Row
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.errors import DataError

__all__ = ["is_question", "usable_rows"]

_logger = logging.getLogger(__name__)

_LISTED = 5


def is_question(row: Row) -> bool:
    """Whether a row of a source is a question on a text, whatever else it lacks."""
    return {"question", "context"} <= row.keys()


def usable_rows(
    rows: Iterable[Row], check: Callable[[Row], None], config: TaskConfig, key: str
) -> tuple[list[Row], Counter[str]]:
    """The rows that can be used, and how many others there are, by reason.

    Another row ends the run or is left out, as `config.on_error` says. Where that says nothing, questions on texts are
    left out, as long as more than half of them are usable, and any other row ends it.

    Args:
        rows: with those that could not be read.
        check: raises a DataError for a row that can't be used.
        config: the task.
        key: the recipe's, of the source; named in messages.

    Raises:
        DataError: a row that can't be used.
    """
    kept: list[Row] = []
    counts: Counter[str] = Counter()
    first: list[Fault] = []
    for row in rows:
        fault = row.fault or _fault_of(row, check)
        if fault is None:
            kept.append(row)
            continue
        if not (fault.reason == WRONG_FIELD_COUNT and config.broken_rows == "drop"):
            if _ends_at_once(config, row, kept):
                raise DataError(f"{key}: {_with_remedy(fault, kept)}")
            first.append(fault)
            del first[_LISTED:]
        counts[fault.reason] += 1
    number = sum(counts.values())
    if first and config.on_error is None and (not _are_questions(config, kept) or number > len(kept)):
        more = f" ({number:,} of {number + len(kept):,} rows can't be used)" if number > 1 else ""
        raise DataError(f"{key}: {_with_remedy(first[0], kept)}{more}")
    if first and not kept:
        raise DataError(f"{key}: none of {number:,} rows can be used; the first: {first[0].message}")
    for fault in first:
        _logger.warning("%s: left out: %s", key, fault.message)
    if number > len(first) > 0:
        _logger.warning("%s: ... and %s more", key, f"{number - len(first):,}")
    return kept, counts


def _fault_of(row: Row, check: Callable[[Row], None]) -> Fault | None:
    try:
        check(row)
    except DataError as error:
        return Fault("rows that can't be used", str(error))
    return None


def _ends_at_once(config: TaskConfig, row: Row, kept: list[Row]) -> bool:
    """Whether a faulty row is an error before the rows behind it have been seen."""
    if config.on_error is not None:
        return config.on_error == "stop"
    if config.kind != "auto":
        return config.kind != "question_answering"
    return not is_question(kept[0]) if kept else row.fault is None and not is_question(row)


def _are_questions(config: TaskConfig, kept: list[Row]) -> bool:
    return config.kind == "question_answering" or (config.kind == "auto" and bool(kept) and is_question(kept[0]))


def _with_remedy(fault: Fault, kept: list[Row]) -> str:
    remedy = "; to leave such rows out and count them, pass --on_error drop (task.on_error)" if kept else ""
    return f"{fault.message}{remedy}"
