"""Documents of text files: blocks between blank lines, lines, or what WikiExtractor writes.

WikiExtractor puts articles into files that are named `wiki_00`, `wiki_01` ..., each between a line `<doc id="..."
url="..." title="...">` and a line `</doc>`, with `<`, `>` and `&` written as entities; with `--json` they are JSON
lines. Both are known by how they begin, under any name.
"""

import html
import re
from collections.abc import Iterator
from pathlib import Path

from pruneofa.data.sources.json_rows import read_json
from pruneofa.data.sources.lines import MAX_RECORD_BYTES, UndecodableLine, numbered_lines
from pruneofa.data.sources.rows import Row, broken_row
from pruneofa.errors import DataError

__all__ = ["read_text", "read_text_lines", "read_wiki_extract"]

_DOCUMENT = re.compile(r'<doc (id="[^"]*".*)>\s*')
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')
_END = "</doc>"


def read_text(path: Path) -> Iterator[Row]:
    """Yield the documents of a file: blocks of lines between blank lines, or articles of WikiExtractor.

    Raises:
        DataError: a fault after which nothing can be read, a document that is too long.
    """
    block = _Block(path)
    for number, line in numbered_lines(path):
        if line.strip():
            if block.is_first and _DOCUMENT.fullmatch(line):
                yield from _read_articles(path)
                return
            block.add(number, line)
        elif block.lines:
            yield block.row()
    if block.lines:
        yield block.row()


def read_text_lines(path: Path) -> Iterator[Row]:
    """Yield every line that is not blank as a document of its own; articles of WikiExtractor as `read_text`."""
    first = True
    for number, line in numbered_lines(path):
        if line.strip():
            if first and _DOCUMENT.fullmatch(line):
                yield from _read_articles(path)
                return
            first = False
            block = _Block(path)
            block.add(number, line)
            yield block.row()


def read_wiki_extract(path: Path) -> Iterator[Row]:
    """Yield the articles of a file that WikiExtractor wrote, in either form.

    Raises:
        DataError: it is in neither.
    """
    for number, line in numbered_lines(path):
        if line.strip():
            if line.lstrip().startswith("{"):
                yield from read_json(path)
            elif _DOCUMENT.fullmatch(line):
                yield from _read_articles(path)
            else:
                raise DataError(
                    f"{path}:{number}: begins with {line.strip()[:40]!r}, while WikiExtractor's files begin with "
                    "<doc id=... or {; give the file the extension that says what it is"
                )
            return


def _read_articles(path: Path) -> Iterator[Row]:
    """Articles between `<doc ...>` and `</doc>`; columns are the attributes (id, url, title) and `text`."""
    article: _Block | None = None
    attributes: dict[str, str] = {}
    begun = 0
    for number, line in numbered_lines(path):
        if (found := _DOCUMENT.fullmatch(line)) is not None:
            if article is not None:
                yield _unclosed(path, begun)
            article, begun = _Block(path), number
            attributes = {name: html.unescape(value) for name, value in _ATTRIBUTE.findall(found[1])}
        elif line.strip() == _END and article is not None:
            yield article.row(attributes, begun)
            article = None
        elif article is not None:
            article.add(number, line if isinstance(line, UndecodableLine) else html.unescape(line))
        elif line.strip():
            origin = f"{path}:{number}"
            message = f"{origin}: text outside of <doc ...> and </doc>: {line.strip()[:40]!r}; correct the file"
            yield broken_row(origin, "text outside of documents", message)
    if article is not None:
        yield _unclosed(path, begun)


def _unclosed(path: Path, number: int) -> Row:
    origin = f"{path}:{number}"
    message = f"{origin}: a <doc ...> without its {_END}; the file is damaged or cut short: extract it again"
    return broken_row(origin, "documents without an end", message)


class _Block:
    """Lines that make up a document."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0
        self._start = 0
        self._fault: str | None = None
        self.lines: list[str] = []
        self.is_first = True

    def add(self, number: int, line: str) -> None:
        """Take a line in."""
        self._start = self._start or number
        self.is_first = False
        self._size += len(line)
        if self._size > MAX_RECORD_BYTES:
            raise DataError(
                f"{self._path}:{self._start}: a document of more than {MAX_RECORD_BYTES} characters; "
                f"put a blank line between documents"
            )
        if isinstance(line, UndecodableLine) and self._fault is None:
            self._fault = line.fault
        self.lines.append(line)

    def row(self, more: dict[str, str] | None = None, start: int | None = None) -> Row:
        """The document; the next one begins empty."""
        origin, fault = f"{self._path}:{start or self._start}", self._fault
        text = "".join(self.lines).strip()
        self.lines, self._size, self._start, self._fault = [], 0, 0, None
        return Row({**(more or {}), "text": text}, origin) if fault is None else broken_row(origin, "not UTF-8", fault)
