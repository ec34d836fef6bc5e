"""The source as a stream of batches of documents, one batch for each shard, the same for any number of processes."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from pruneofa.data.sources.reading import source_parts
from pruneofa.data.sources.rows import Markup, Row, optional_text

__all__ = ["Document", "DocumentBatch", "Position", "read_batches"]

# A document costs memory beside its text, so that a shard of tiny ones must not hold too many.
_DOCUMENT_OVERHEAD = 32

DROPPED = ("dropped_empty", "dropped_redirects", "dropped_other_pages")


class Document(NamedTuple):
    """One document.

    Attributes:
        number: its row number in the whole source, from 0; rows that are dropped count too.
        text: its text, not empty.
        markup: set where the text is wikitext.
    """

    number: int
    text: str
    markup: Markup | None


@dataclass(frozen=True)
class Position:
    """A place in the source.

    Attributes:
        part: index of the file (or data set) to read next.
        row: rows of it that have been read.
        number: rows of the whole source that have been read.
    """

    part: int = 0
    row: int = 0
    number: int = 0

    def as_dict(self) -> dict[str, int]:
        """For a JSON file."""
        return asdict(self)


@dataclass(frozen=True)
class DocumentBatch:
    """The documents of one shard.

    Attributes:
        shard: its number.
        documents: in source order; empty where the source's last rows were all dropped.
        end: where the next batch begins.
        origin: file and line of its first row.
        dropped: rows left out, by reason.
        seconds: spent reading.
    """

    shard: int
    documents: list[Document]
    end: Position
    origin: str
    dropped: dict[str, int]
    seconds: float


@dataclass
class _Pending:
    """A batch that is being filled."""

    documents: list[Document] = field(default_factory=list)
    size: int = 0
    origin: str = ""
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DROPPED, 0))

    def add(self, row: Row, number: int, text_column: str) -> None:
        """Take a row's document in, or count why not."""
        self.origin = self.origin or row.origin
        if (reason := _unwanted(row)) is not None:
            self.dropped[reason] += 1
            return
        text = optional_text(row, text_column).strip()
        if not text:
            self.dropped["dropped_empty"] += 1
            return
        self.documents.append(Document(number, text, row.markup))
        self.size += len(text) + _DOCUMENT_OVERHEAD


def read_batches(
    source: str | list[str], text_column: str, characters: int, shard: int = 0, start: Position | None = None
) -> Iterator[DocumentBatch]:
    """Read the source from `start` on; a batch ends with the document that reaches `characters`.

    Args:
        source: as of `pruneofa.data.sources.reading`.
        text_column: column of the text.
        characters: size of a batch.
        shard: number of the first batch.
        start: where to begin; files before it are not opened.

    Raises:
        DataError: any fault of the source.
    """
    start = start or Position()
    parts = source_parts(source, stream=True)
    number, pending, began = start.number, _Pending(), time.perf_counter()
    part, row_count = start.part, start.row
    for part in range(start.part, len(parts)):
        row_count = start.row if part == start.part else 0
        for row in itertools.islice(parts[part], row_count, None):
            pending.add(row, number, text_column)
            number, row_count = number + 1, row_count + 1
            if pending.size >= characters:
                yield _batch(pending, shard, Position(part, row_count, number), began)
                shard, pending, began = shard + 1, _Pending(), time.perf_counter()
    if pending.origin:
        yield _batch(pending, shard, Position(part, row_count, number), began)


def _batch(pending: _Pending, shard: int, end: Position, began: float) -> DocumentBatch:
    seconds = time.perf_counter() - began
    return DocumentBatch(shard, pending.documents, end, pending.origin, pending.dropped, seconds)


def _unwanted(row: Row) -> str | None:
    """Why a page of a MediaWiki dump is no document."""
    if row.markup is None:
        return None
    if row["namespace"] != 0:
        return "dropped_other_pages"
    return "dropped_redirects" if row["redirect"] else None
