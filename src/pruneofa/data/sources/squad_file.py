"""Question answering in SQuAD's own JSON layout: articles, their paragraphs, and questions on each, as rows.

A file is one object `{"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers": [{"text",
"answer_start"}]}]}]}]}`; version 2.0 adds `is_impossible`. Each question becomes a row with the columns `id`, `title`,
`context`, `question` and `answers`, as the hub's data sets have them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pruneofa.data.sources.compression import READ_ERRORS, open_binary
from pruneofa.data.sources.rows import Row
from pruneofa.errors import DataError

__all__ = ["read_squad_file"]

# The layout is one object, which is held in memory whole.
_MAX_BYTES = 2**30


def read_squad_file(path: Path) -> Iterator[Row]:
    """Yield the questions of one file, in order.

    Raises:
        DataError: an unreadable, damaged or too large file, broken JSON, or a part of the layout that is missing; the
            message names the place.
    """
    document = _load(path)
    articles = _member(document, "data", list, f"{path}: document")
    empty = True
    for number, article in enumerate(articles):
        place = f"{path}: data[{number}]"
        title = article.get("title", "") if isinstance(article, dict) else ""
        for index, paragraph in enumerate(_member(article, "paragraphs", list, place)):
            inner = f"{place}.paragraphs[{index}]"
            context = _member(paragraph, "context", str, inner)
            for position, question in enumerate(_member(paragraph, "qas", list, inner)):
                empty = False
                yield _row(question, f"{inner}.qas[{position}]", context, str(title))
    if empty:
        raise DataError(f"{path} is empty: it holds no question; check the file")


def _row(question: Any, place: str, context: str, title: str) -> Row:
    return Row(
        {
            "id": str(_member(question, "id", (str, int), place)),
            "title": title,
            "context": context,
            "question": _member(question, "question", str, place),
            "answers": [] if question.get("is_impossible") else _member(question, "answers", list, place),
        },
        place,
    )


def _load(path: Path) -> Any:
    try:
        with open_binary(path) as file:
            raw = file.read(_MAX_BYTES + 1)
    except READ_ERRORS as error:
        raise DataError(f"{path}: can't be read (damaged or cut short?): {error}") from error
    if len(raw) > _MAX_BYTES:
        raise DataError(f"{path}: more than {_MAX_BYTES:,} bytes of JSON; split it, or use JSON lines")
    try:
        document = json.loads(raw)
        json.dumps(document, ensure_ascii=False).encode("utf-8")  # half of a surrogate pair is legal JSON but no text
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: broken JSON ({error}); needed: SQuAD's layout, or JSON lines as .jsonl") from error
    return document


def _member(value: Any, key: str, kind: type | tuple[type, ...], place: str) -> Any:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, kind) or isinstance(found, bool):
        names = " or ".join(t.__name__ for t in (kind if isinstance(kind, tuple) else (kind,)))
        shown = "missing" if found is None else f"{type(found).__name__} ({str(found)[:40]!r})"
        raise DataError(f"{place}.{key} is {shown}, must be {names}; needed: SQuAD's JSON layout")
    return found
