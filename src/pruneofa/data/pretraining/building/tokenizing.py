"""The first step over a shard: documents -> plain text -> sentences -> token ids, on the disk."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pruneofa.data.pretraining.building.documents import DocumentBatch
from pruneofa.data.pretraining.building.sentences import mark_sentences
from pruneofa.data.pretraining.building.text_encoder import text_encoder
from pruneofa.data.pretraining.building.token_shards import TokenShard, write_token_shard
from pruneofa.data.sources.wikitext import plain_text

__all__ = ["TokenizeSettings", "TokenizeTask", "text_hash", "tokenize_shard"]


@dataclass(frozen=True)
class TokenizeSettings:
    """What decides the token ids.

    Attributes:
        tokenizer: the fast tokenizer in its JSON form.
        language: of the sentence splitter; None where sentences are not split.
        seed: salts the hash of a text, which decides its split.
        by_line: the end of a line ends a sentence.
    """

    tokenizer: str
    language: str | None
    seed: int
    by_line: bool = False


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
    lines = sum(text.count("\n") + 1 for text in texts)
    with _timed(seconds, "split_sentences"):
        language = task.settings.language
        if language is not None:
            texts = [mark_sentences(text, language, by_line=task.settings.by_line) for text in texts]
    with _timed(seconds, "tokenize"):
        encoder = text_encoder(task.settings.tokenizer)
        tokens, ends = encoder.encode(texts)
    tokens, documents, sentences, kept = _cut(tokens, ends, encoder.mark)
    numbers = np.array([document.number for document in task.batch.documents], dtype=np.int64)
    shard = TokenShard(documents, sentences, numbers[kept], np.array(hashes, dtype=np.int64)[kept], tokens)
    dropped = dict(task.batch.dropped)
    dropped["dropped_empty"] += len(texts) - len(kept)
    facts = {
        "origin": task.batch.origin,
        "end": task.batch.end.as_dict(),
        "content": task.batch.content_hash(),
        "characters": characters,
        "lines": lines,
        "one_sentence_documents": int(np.count_nonzero(np.diff(documents) == 1)),
        "dropped": dropped,
        "seconds": seconds,
    }
    write_token_shard(task.path, shard, facts)


def text_hash(text: str, seed: int) -> int:
    """Uniform in [0, 2^63); what decides on which side of the split a text is."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{text}".encode()).digest()[:8], "big") >> 1


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
