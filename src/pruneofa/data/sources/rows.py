"""One row of a data source, and strict access to its columns."""

import difflib
from typing import Any, NamedTuple

from pruneofa.errors import DataError

__all__ = ["Markup", "Row", "column_value", "text_value"]


class Markup(NamedTuple):
    """Says that a row's text is wikitext, and what it takes to turn it into plain text.

    Attributes:
        title: of the page.
        namespaces: the wiki's names of namespaces, in lower case; links into them show nothing (files, categories).
    """

    title: str
    namespaces: frozenset[str]


class Row(dict[str, Any]):
    """A row (column -> value) that remembers where it came from.

    Attributes:
        origin: `file:line`, or the data set and row number; opens the error message about this row.
        markup: set where the text is wikitext, as in a MediaWiki dump.
    """

    __slots__ = ("markup", "origin")

    def __init__(self, values: dict[str, Any], origin: str, markup: Markup | None = None) -> None:
        super().__init__(values)
        self.origin = origin
        self.markup = markup


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
    """The text in `column`; a null is an empty text.

    Raises:
        DataError: no such column, or its value is not text.
    """
    value = column_value(row, column)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(
            f"{row.origin}: column {column!r} holds {type(value).__name__} ({str(value)[:40]!r}), not text; "
            f"name the column with the text"
        )
    return value
