"""Token ids of a shard's documents on the disk, between tokenising and putting examples together.

A shard is one file of five arrays, one after the other, and a JSON file with their sizes beside it, written last. Any
piece of any shard can be read by itself, without holding or mapping the rest.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneofa.atomic import replacing_file, write_json

__all__ = ["TokenReader", "TokenShard", "read_hashes", "read_token_shard", "shard_facts", "write_token_shard"]

_OPEN_FILES = 128
_WIDE, _NARROW = np.dtype("<i8"), np.dtype("<i4")
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TokenShard:
    """Documents of a shard, tokenised; none is empty.

    Attributes:
        documents: offsets into `sentences`, shape [documents + 1].
        sentences: offsets into `tokens`, shape [sentences + 1]; where sentences are not split, a document is one.
        numbers: of the documents in the source, shape [documents].
        hashes: of their texts, uniform in [0, 2^63), shape [documents]; equal for equal texts.
        tokens: token ids without special tokens, int32.
    """

    documents: IntArray
    sentences: IntArray
    numbers: IntArray
    hashes: IntArray
    tokens: npt.NDArray[np.int32]


def write_token_shard(path: Path, shard: TokenShard, facts: dict[str, Any]) -> None:
    """Write `path` and `path.json`, the latter with `facts` and the sizes."""
    with replacing_file(path) as temporary, temporary.open("wb") as file:
        for array in (shard.documents, shard.sentences, shard.numbers, shard.hashes):
            array.astype(_WIDE, copy=False).tofile(file)
        shard.tokens.astype(_NARROW, copy=False).tofile(file)
    sizes = {
        "documents": len(shard.numbers),
        "sentences": len(shard.sentences) - 1,
        "tokens": len(shard.tokens),
    }
    write_json(_facts_path(path), {**facts, **sizes})


def shard_facts(path: Path) -> dict[str, Any] | None:
    """What `write_token_shard` was told and counted; None where the shard is missing or not whole."""
    try:
        facts: dict[str, Any] = json.loads(_facts_path(path).read_text(encoding="utf-8"))
        return facts if path.stat().st_size == _Layout.of(facts).end else None
    except (OSError, ValueError, KeyError):
        return None


def read_token_shard(path: Path, facts: dict[str, Any]) -> TokenShard:
    """The whole shard, in memory."""
    layout = _Layout.of(facts)
    with path.open("rb") as file:
        wide = [np.fromfile(file, _WIDE, count) for count in layout.wide]
        tokens = np.fromfile(file, _NARROW, facts["tokens"])
    return TokenShard(wide[0], wide[1], wide[2], wide[3], tokens)


def read_hashes(path: Path, facts: dict[str, Any]) -> IntArray:
    """The text hashes of a shard's documents."""
    return np.fromfile(path, _WIDE, facts["documents"], offset=_Layout.of(facts).begins[3])


class TokenReader:
    """Pieces of any shard of a folder, read when they are asked for; memory does not grow with what was read.

    Args:
        paths: of the shards' files.
        sizes: documents, sentences and tokens of each.
    """

    def __init__(self, paths: list[Path], sizes: list[dict[str, int]]) -> None:
        self._paths = paths
        self._layouts = [_Layout.of(size) for size in sizes]
        self._open: OrderedDict[int, FileIO] = OrderedDict()

    def close(self) -> None:
        """Close all files."""
        while self._open:
            self._open.popitem()[1].close()

    def text_hash(self, shard: int, document: int) -> int:
        """The document's text hash."""
        return int(self._wide(shard, 3, document, 1)[0])

    def number(self, shard: int, document: int) -> int:
        """The document's number in the source."""
        return int(self._wide(shard, 2, document, 1)[0])

    def sentence_range(self, shard: int, document: int) -> tuple[int, int]:
        """The document's first sentence and the one after its last, counted in the shard."""
        first, last = self._wide(shard, 0, document, 2)
        return int(first), int(last)

    def sentence_offsets(self, shard: int, sentence: int, count: int) -> IntArray:
        """Token offsets of `count` sentences from `sentence` on, and where the last one ends, shape [count + 1]."""
        return self._wide(shard, 1, sentence, count + 1)

    def tokens(self, shard: int, begin: int, count: int) -> npt.NDArray[np.int32]:
        """`count` token ids from offset `begin` on."""
        at = self._layouts[shard].tokens + begin * _NARROW.itemsize
        return np.frombuffer(self._read(shard, count * _NARROW.itemsize, at), _NARROW)

    def _wide(self, shard: int, array: int, begin: int, count: int) -> IntArray:
        at = self._layouts[shard].begins[array] + begin * _WIDE.itemsize
        return np.frombuffer(self._read(shard, count * _WIDE.itemsize, at), _WIDE)

    def _read(self, shard: int, count: int, at: int) -> bytes:
        file = self._open.get(shard)
        if file is None:
            file = self._open[shard] = self._paths[shard].open("rb", buffering=0)
            if len(self._open) > _OPEN_FILES:
                self._open.popitem(last=False)[1].close()
        else:
            self._open.move_to_end(shard)
        file.seek(at)
        return file.read(count)


@dataclass(frozen=True)
class _Layout:
    """Where the arrays of a shard's file are: lengths of the wide ones, and bytes at which each begins."""

    wide: tuple[int, int, int, int]
    begins: tuple[int, int, int, int]
    tokens: int
    end: int

    @classmethod
    def of(cls, sizes: dict[str, Any]) -> "_Layout":
        documents, sentences, tokens = sizes["documents"], sizes["sentences"], sizes["tokens"]
        wide = (documents + 1, sentences + 1, documents, documents)
        ends = np.cumsum(wide) * _WIDE.itemsize
        first, second, third, last = (int(end) for end in ends)
        return cls(wide, (0, first, second, third), last, last + tokens * _NARROW.itemsize)


def _facts_path(path: Path) -> Path:
    return path.with_suffix(".json")
