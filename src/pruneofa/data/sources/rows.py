"""One row of a data source, and strict access to its columns."""

import difflib
from typing import Any, NamedTuple

from pruneofa.errors import DataError
from pruneofa.texts import text_fault

__all__ = ["Fault", "Markup", "Row", "broken_row", "column_value", "optional_text", "text_value"]


class Markup(NamedTuple):
    """Says that a row's text is wikitext, and what it takes to turn it into plain text.

    Attributes:
        title: of the page.
        namespaces: the wiki's names of namespaces, in lower case; links into them show nothing (files, categories).
    """

    title: str
    namespaces: frozenset[str]


class Fault(NamedTuple):
    """Why a row can't be used.

    Attributes:
        reason: in a few words, the same for all rows with this fault; what they are counted by.
        message: names the place, the cause and the remedy.
    """

    reason: str
    message: str


class Row(dict[str, Any]):
    """A row (column -> value) that remembers where it came from.

    Attributes:
        origin: `file:line`, or the data set and row number; opens the error message about this row.
        markup: set where the text is wikitext, as in a MediaWiki dump.
        fault: set where the row could not be read, while the rows after it can; it then has no column.
    """

    __slots__ = ("fault", "markup", "origin")

    def __init__(self, values: dict[str, Any], origin: str, markup: Markup | None = None) -> None:
        super().__init__(values)
        self.origin = origin
        self.markup = markup
        self.fault: Fault | None = None


def broken_row(origin: str, reason: str, message: str) -> Row:
    """What a reader yields in place of a row that it can't read."""
    row = Row({}, origin)
    row.fault = Fault(reason, message)
    return row


def column_value(row: Row, column: str) -> Any:
    """The value of `column`.

    Raises:
        DataError: no such column; names those that exist and the nearest one.
    """
    if column in row:
        return row[column]
    near = difflib.get_close_matches(column, [str(name) for name in row], n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    found = ", ".join(repr(name) for name in list(row)[:20]) or "none"
    raise DataError(f"{row.origin}: no column {column!r}; columns found: {found}{hint}")


def text_value(row: Row, column: str) -> str:
    """The text in `column`, which may be empty.

    Raises:
        DataError: no such column, or its value is no text (a null, NaN, a number ...).
    """
    value = column_value(row, column)
    if (fault := text_fault(value)) is not None:
        raise DataError(
            f"{row.origin}: column {column!r} {fault[0]}; correct the row, or name the column that holds the text"
        )
    return str(value)


def optional_text(row: Row, column: str) -> str:
    """As `text_value`, but a missing value (null) is an empty text."""
    return "" if row.get(column, "") is None else text_value(row, column)
