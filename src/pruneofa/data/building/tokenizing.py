"""The first step over a shard: documents -> plain text -> sentences -> token ids, on the disk."""

import hashlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneofa.data.building.documents import DocumentBatch
from pruneofa.data.building.sentences import SENTENCE_MARK, mark_sentences
from pruneofa.data.building.token_shards import TokenShard, write_token_shard
from pruneofa.data.wikitext import plain_text
from pruneofa.errors import DataError

__all__ = ["TokenizeSettings", "TokenizeTask", "text_hash", "tokenize_shard"]

# The tokenizer's own results take some hundred bytes a token, so a batch is small.
_BATCH_CHARACTERS = 500_000
# A document beyond this is tokenised in pieces, cut before a space.
_PIECE_CHARACTERS = 500_000


@dataclass(frozen=True)
class TokenizeSettings:
    """What decides the token ids.

    Attributes:
        tokenizer: the fast tokenizer in its JSON form.
        language: of the sentence splitter; None where sentences are not split.
        seed: salts the hash of a text, which decides its split.
    """

    tokenizer: str
    language: str | None
    seed: int


@dataclass(frozen=True)
class TokenizeTask:
    """One shard to be tokenised into `path`."""

    batch: DocumentBatch
    settings: TokenizeSettings
    path: Path


def tokenize_shard(task: TokenizeTask) -> None:
    """Do one shard; a document without any token is dropped and counted."""
    seconds = {"read": task.batch.seconds}
    texts = [document.text for document in task.batch.documents]
    hashes = [text_hash(text, task.settings.seed) for text in texts]
    with _timed(seconds, "clean"):
        texts = [
            text if document.markup is None else plain_text(text, document.markup)
            for text, document in zip(texts, task.batch.documents, strict=True)
        ]
    characters = sum(map(len, texts))
    with _timed(seconds, "split_sentences"):
        language = task.settings.language
        if language is not None:
            texts = [mark_sentences(text, language) for text in texts]
    with _timed(seconds, "tokenize"):
        tokenizer, mark = _tokenizer(task.settings.tokenizer)
        tokens, ends = _encode(texts, tokenizer)
    tokens, documents, sentences, kept = _cut(tokens, ends, mark)
    numbers = np.array([document.number for document in task.batch.documents], dtype=np.int64)
    shard = TokenShard(documents, sentences, numbers[kept], np.array(hashes, dtype=np.int64)[kept], tokens)
    dropped = dict(task.batch.dropped)
    dropped["dropped_empty"] += len(texts) - len(kept)
    facts = {
        "origin": task.batch.origin,
        "end": task.batch.end.as_dict(),
        "characters": characters,
        "dropped": dropped,
        "seconds": seconds,
    }
    write_token_shard(task.path, shard, facts)


def text_hash(text: str, seed: int) -> int:
    """Uniform in [0, 2^63); what decides on which side of the split a text is."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{text}".encode()).digest()[:8], "big") >> 1


@lru_cache(maxsize=1)
def _tokenizer(rules: str) -> tuple[Any, int]:
    """The tokenizer, with a token of its own for the mark between sentences, and that token's id."""
    from tokenizers import AddedToken, Tokenizer

    tokenizer = Tokenizer.from_str(rules)
    tokenizer.no_truncation()  # a saved tokenizer may carry either
    tokenizer.no_padding()
    tokenizer.add_tokens([AddedToken(SENTENCE_MARK, normalized=False)])
    return tokenizer, tokenizer.token_to_id(SENTENCE_MARK) or 0


def _encode(texts: list[str], tokenizer: Any) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Token ids of all texts one after the other, and where each text ends among them."""
    flat: list[npt.NDArray[np.int32]] = []
    lengths = np.zeros(len(texts), dtype=np.int64)
    for owners, pieces in _batches(texts):
        try:
            encoded = [encoding.ids for encoding in tokenizer.encode_batch_fast(pieces, add_special_tokens=False)]
        except Exception as error:  # the library raises bare Exception
            raise DataError(f"the tokenizer can't encode a text that begins {pieces[0][:60]!r}: {error}") from error
        counts = [len(ids) for ids in encoded]
        flat.append(np.fromiter(itertools.chain.from_iterable(encoded), dtype=np.int32, count=sum(counts)))
        np.add.at(lengths, owners, counts)
    return np.concatenate(flat) if flat else np.empty(0, dtype=np.int32), np.cumsum(lengths)


def _batches(texts: list[str]) -> Iterator[tuple[list[int], list[str]]]:
    """Pieces of texts, with the index of the text that each is of."""
    owners: list[int] = []
    pieces: list[str] = []
    size = 0
    for index, text in enumerate(texts):
        for piece in _pieces(text):
            owners.append(index)
            pieces.append(piece)
            size += len(piece)
            if size >= _BATCH_CHARACTERS:
                yield owners, pieces
                owners, pieces, size = [], [], 0
    if pieces:
        yield owners, pieces


def _pieces(text: str) -> Iterator[str]:
    begin = 0
    while len(text) - begin > _PIECE_CHARACTERS:
        end = text.rfind(" ", begin + 1, begin + _PIECE_CHARACTERS)
        end = end if end > 0 else begin + _PIECE_CHARACTERS
        yield text[begin:end]
        begin = end
    yield text[begin:] if begin else text


def _cut(
    tokens: npt.NDArray[np.int32], ends: npt.NDArray[np.int64], mark: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Take the marks out.

    Returns:
        The tokens without marks; offsets of documents into sentences; offsets of sentences into tokens; indices of the
        documents that have a token.
    """
    is_token = tokens != mark
    kept_before = np.concatenate([[0], np.cumsum(is_token)])
    bounds = kept_before[np.concatenate([[0], ends])]
    kept = np.flatnonzero(np.diff(bounds))
    bounds = np.unique(bounds)
    sentences = np.union1d(bounds, kept_before[np.flatnonzero(~is_token)])
    return tokens[is_token], np.searchsorted(sentences, bounds), sentences, kept


class _timed:  # noqa: N801 (reads as a statement)
    """Adds the time of its block to `seconds[name]`."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        spent = time.perf_counter() - self._began
        self._seconds[self._name] = self._seconds.get(self._name, 0.0) + spent
