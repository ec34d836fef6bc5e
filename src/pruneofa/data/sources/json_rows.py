"""Rows of JSON files, in the forms that people have: told apart by how the file begins, not by its name.

- one object a line (JSON lines);
- objects one after the other, on several lines each (as jq prints them);
- one array of objects;
- one object whose member `data` is an array of objects, as Hugging Face and SQuAD have it.

An object with `paragraphs` is an article of SQuAD, `{"title", "paragraphs": [{"context", "qas": [{"id", "question",
"answers": [{"text", "answer_start"}]}]}]}` (version 2.0 adds `is_impossible`). Each of its questions becomes a row with
the columns `id`, `title`, `context`, `question` and `answers`, as the hub's data sets have them.
"""

import contextlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pruneofa.data.sources.compression import open_binary
from pruneofa.data.sources.json_text import BrokenJson, JsonText
from pruneofa.data.sources.lines import decoding_fault, encoding_of, reading
from pruneofa.data.sources.rows import Row, broken_row
from pruneofa.errors import DataError

__all__ = ["read_json"]

_FORMS = 'one JSON object a line, like {"text": "..."}, an array of objects, or an object with these under "data"'
_DATA = "data"
_ARTICLE = "paragraphs"


def read_json(path: Path) -> Iterator[Row]:
    """Yield the rows of a file in any of the forms; an object is held in memory, not the file.

    Raises:
        DataError: an unreadable or damaged file; broken JSON that is not one object a line, so that nothing after it
            can be told apart; a file in another form.
    """
    text: JsonText | None = None
    with reading(path, lambda: f"line {text.line if text else 0}"), open_binary(path) as file:
        text = JsonText(file, encoding_of(file, path), str(path))
        try:
            yield from _rows(text, path)
        except BrokenJson as error:
            raise DataError(f"{path}:{error.line}: {_broken(error.cause)}") from error


def _rows(text: JsonText, path: Path) -> Iterator[Row]:
    first = text.peek()
    if first == "":
        return
    if first == "[":
        yield from _array(text, path, "")
        _check_end(text, path, "the array")
    elif first != "{" or _first_line_is_one_of_several(text):
        yield from _lines(text, path)
    elif _enter_data(text):
        yield from _array(text, path, _DATA)
        _leave_object(text, path)
        _check_end(text, path, 'the object with "data"')
    else:
        yield from _objects(text, path)


def _first_line_is_one_of_several(text: JsonText) -> bool:
    """Whether the first line is one value, with something on a later line; the position stays."""
    line = text.complete_line()
    if line is None:
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    text.hold()
    text.at += len(line)
    more = text.peek() != ""
    text.back()
    return more


def _enter_data(text: JsonText) -> bool:
    """Go to the array under `data` of the object at the position, where it has one; else stay."""
    text.hold()
    with contextlib.suppress(BrokenJson):
        text.skip("{")
        while text.peek() == '"':
            key, _ = text.value()
            if not text.skip(":"):
                break
            if key == _DATA and text.peek() == "[":
                text.release()
                return True
            text.value()
            if not text.skip(","):
                break
    text.back()
    return False


def _leave_object(text: JsonText, path: Path) -> None:
    """Go behind what is left of an object after one of its members."""
    while text.skip(","):
        text.value()
        if text.skip(":"):
            text.value()
    if not text.skip("}"):
        raise DataError(f"{path}:{text.line}: broken JSON: the object that began the file does not end here")


def _check_end(text: JsonText, path: Path, what: str) -> None:
    if text.peek() != "":
        raise DataError(f"{path}:{text.line}: more text after {what} has ended; needed: {_FORMS}")


def _array(text: JsonText, path: Path, name: str) -> Iterator[Row]:
    text.skip("[")
    if text.skip("]"):
        return
    for number in itertools.count():
        value, raw = text.value()
        yield from _expanded(value, raw, f"{path}: {name}[{number}]")
        if text.skip("]"):
            return
        if not text.skip(","):
            raise DataError(f"{path}:{text.line}: broken JSON: no ',' or ']' after {name}[{number}]; cut short?")


def _objects(text: JsonText, path: Path) -> Iterator[Row]:
    """One object, several on as many lines, or several over more lines each."""
    text.hold()
    origin = f"{path}:{text.line}"
    try:
        value, raw = text.value()
    except BrokenJson:
        text.back()
        if (text.complete_line() or "{").rstrip().endswith(("{", "[", ",", ":")):
            raise  # objects over several lines can't be told apart behind a fault
        yield from _lines(text, path)
        return
    text.release()
    text.hold()
    alone = text.peek() == ""
    text.back()
    if alone and isinstance(value, dict) and _holds_columns_or_splits(value):
        members = ", ".join(map(repr, list(value)[:5]))
        raise DataError(
            f"{origin}: one JSON object with the members {members}, which hold lists or objects; needed: {_FORMS} "
            "(pandas: to_json(path, orient='records', lines=True); splits: a file for each)"
        )
    yield from _expanded(value, raw, origin)
    text.hold()
    by_line = "\n" not in raw and not (text.rest_of_line() or "").strip()
    text.back()
    if by_line:
        yield from _lines(text, path)
        return
    while text.peek() != "":
        origin = f"{path}:{text.line}"
        yield from _expanded(*text.value(), origin)


def _holds_columns_or_splits(value: dict[str, Any]) -> bool:
    return bool(value) and _ARTICLE not in value and all(isinstance(member, list | dict) for member in value.values())


def _lines(text: JsonText, path: Path) -> Iterator[Row]:
    while True:
        origin = f"{path}:{text.line}"
        line = text.rest_of_line()
        if line is None:
            return
        line = line.strip().removeprefix("\ufeff")
        if not line:
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            cause = f"{error.msg}, column {error.colno}"
            yield broken_row(origin, "broken JSON", f"{origin}: {_broken(cause)}")
        except (ValueError, RecursionError) as error:
            yield broken_row(origin, "broken JSON", f"{origin}: {_broken(str(error))}")
        else:
            if isinstance(value, dict) and _ARTICLE not in value and line.isascii() and "\\u" not in line:
                yield Row(value, origin)  # nearly all lines
            else:
                yield from _expanded(value, line, origin)


def _broken(cause: str) -> str:
    return f"broken JSON ({cause}); needed: {_FORMS}"


def _expanded(value: Any, raw: str, origin: str) -> Iterator[Row]:
    """The row, or the rows of an article's questions, of one value."""
    if (fault := decoding_fault(raw, origin)) is not None:
        yield broken_row(origin, "not UTF-8", fault)
        return
    if "\\ud" in raw or "\\uD" in raw:  # half of a surrogate pair is legal JSON but no text
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            reason = "half a surrogate pair"
            half = f"U+{ord(error.object[error.start]):04X}"
            yield broken_row(origin, reason, f"{origin}: {reason} ({half}), which is no character; correct the text")
            return
    if not isinstance(value, dict):
        kind = {"list": "array", "str": "string", "NoneType": "null"}.get(type(value).__name__, type(value).__name__)
        yield broken_row(origin, "no JSON object", f"{origin}: a JSON {kind}, not an object; needed: {_FORMS}")
    elif _is_article(value):
        yield from _questions(value, origin)
    else:
        yield Row(value, origin)


def _is_article(value: dict[str, Any]) -> bool:
    paragraphs = value.get(_ARTICLE)
    return isinstance(paragraphs, list) and any(isinstance(each, dict) and "qas" in each for each in paragraphs)


def _questions(article: dict[str, Any], origin: str) -> Iterator[Row]:
    for index, paragraph in enumerate(article[_ARTICLE]):
        inner = f"{origin}.{_ARTICLE}[{index}]"
        questions = paragraph.get("qas") if isinstance(paragraph, dict) else None
        if not isinstance(questions, list):
            yield _not_squad(f"{inner}.qas", questions, "an array")
            continue
        for position, question in enumerate(questions):
            place = f"{inner}.qas[{position}]"
            if not isinstance(question, dict):
                yield _not_squad(place, question, "an object")
                continue
            values = {
                "id": None if question.get("id") is None else str(question["id"]),
                "title": str(article.get("title") or ""),
                "context": paragraph.get("context"),
                "question": question.get("question"),
            }
            if question.get("is_impossible") in (True, "true", "True"):
                values["answers"] = []
            elif "answers" in question:
                values["answers"] = question["answers"]
            yield Row(values, place)


def _not_squad(place: str, found: Any, needed: str) -> Row:
    shown = "missing" if found is None else f"{type(found).__name__} ({str(found)[:40]!r})"
    return broken_row(place, "not SQuAD's layout", f"{place} is {shown}, must be {needed}; needed: SQuAD's JSON layout")
