"""The source as a stream of batches of documents, one batch for each shard, the same for any number of processes."""

import hashlib
import itertools
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from pruneofa.data.pretraining.building.config import CorpusConfig
from pruneofa.data.sources.reading import source_parts
from pruneofa.data.sources.rows import Markup, Row, optional_text
from pruneofa.data.sources.text_file import read_text_lines
from pruneofa.errors import DataError

__all__ = ["Document", "DocumentBatch", "Position", "read_batches"]

_logger = logging.getLogger(__name__)

# A document costs memory beside its text, so that a shard of tiny ones must not hold too many.
_DOCUMENT_OVERHEAD = 32

DROPPED = ("dropped_empty", "dropped_redirects", "dropped_other_pages", "dropped_broken")

_LISTED = 5


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

    def content_hash(self) -> str:
        """SHA-256 of the documents and of what was dropped between them: equal for equal text in equal rows."""
        digest = hashlib.sha256(repr(sorted(self.dropped.items())).encode())
        for document in self.documents:
            names = sorted(document.markup.namespaces) if document.markup is not None else None
            title = document.markup.title if document.markup is not None else None
            digest.update(f"{document.number}/{len(document.text)}/{title!r}/{names!r}/".encode())
            digest.update(document.text.encode())
        return digest.hexdigest()


@dataclass
class _Pending:
    """A batch that is being filled."""

    documents: list[Document] = field(default_factory=list)
    size: int = 0
    origin: str = ""
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DROPPED, 0))

    def add(self, row: Row, number: int, text_column: str) -> None:
        """Take a row's document in, or count why not.

        Raises:
            DataError: the row can't be read, or lacks the column or a text in it; it is counted all the same.
        """
        self.origin = self.origin or row.origin
        if row.fault is not None:
            self.dropped["dropped_broken"] += 1
            raise DataError(row.fault.message)
        if (reason := _unwanted(row)) is not None:
            self.dropped[reason] += 1
            return
        try:
            text = optional_text(row, text_column).strip()
        except DataError:
            self.dropped["dropped_broken"] += 1
            raise
        if not text:
            self.dropped["dropped_empty"] += 1
            return
        self.documents.append(Document(number, text, row.markup))
        self.size += len(text) + _DOCUMENT_OVERHEAD


def read_batches(config: CorpusConfig, shard: int = 0, start: Position | None = None) -> Iterator[DocumentBatch]:
    """Read the source from `start` on; a batch ends with the document that reaches `config.shard_characters`.

    Args:
        config: names the source, the column of the text, what a line's end means, and what to do with a faulty row.
        shard: number of the first batch.
        start: where to begin; files before it are not opened.

    Raises:
        DataError: any fault of the source, but for rows that are dropped.
    """
    start = start or Position()
    readers = {".txt": read_text_lines} if config.line_end == "document" else None
    parts = source_parts(config.source, readers, keep_broken=True, stream=True)
    number, pending, began = start.number, _Pending(), time.perf_counter()
    part, row_count = start.part, start.row
    listed = 0
    for part in range(start.part, len(parts)):
        row_count = start.row if part == start.part else 0
        for row in itertools.islice(parts[part], row_count, None):
            try:
                pending.add(row, number, config.text_column)
            except DataError as error:
                if config.on_error == "stop":
                    remedy = "; to leave such rows out and count them, pass --on_error drop (corpus.on_error)"
                    raise DataError(f"{error}{remedy if pending.documents or shard else ''}") from error
                listed += 1
                if listed <= _LISTED:
                    _logger.warning("corpus: left out: %s%s", error, " (further ones: counted)" * (listed == _LISTED))
            number, row_count = number + 1, row_count + 1
            if pending.size >= config.shard_characters:
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
