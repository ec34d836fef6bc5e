"""Texts with marked sentences -> token ids, by a fast tokenizer."""

import itertools
from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pruneofa.data.pretraining.building.sentences import SENTENCE_MARK
from pruneofa.data.pretraining.building.word_table import WordTable, tokenizes_word_by_word
from pruneofa.errors import DataError

__all__ = ["TextEncoder", "text_encoder"]

IntArray = npt.NDArray[np.int64]
TokenArray = npt.NDArray[np.int32]

# The tokenizer's own results take some hundred bytes a token, and more for each text, so a batch is small.
_BATCH_CHARACTERS = 500_000
_TEXT_OVERHEAD = 64
# A document beyond this is tokenised in pieces, cut before a space; a word beyond it stays whole.
_PIECE_CHARACTERS = 500_000


@lru_cache(maxsize=1)
def text_encoder(rules: str) -> "TextEncoder":
    """The encoder of a tokenizer, made once in a process.

    Args:
        rules: the fast tokenizer in its JSON form.
    """
    return TextEncoder(rules)


class TextEncoder:
    """A tokenizer with a token of its own for the mark between sentences.

    Args:
        rules: the fast tokenizer in its JSON form.
        by_table: whether words may be looked up; the ids are the same.

    Attributes:
        mark: id of the mark between sentences.
    """

    def __init__(self, rules: str, *, by_table: bool = True) -> None:
        from tokenizers import AddedToken, Tokenizer

        self._tokenizer = Tokenizer.from_str(rules)
        self._tokenizer.no_truncation()  # a saved tokenizer may carry either
        self._tokenizer.no_padding()
        self._tokenizer.add_tokens([AddedToken(SENTENCE_MARK, normalized=False)])
        self.mark: int = self._tokenizer.token_to_id(SENTENCE_MARK) or 0
        self._table = WordTable(self._encode) if by_table and tokenizes_word_by_word(rules) else None

    def encode(self, texts: list[str]) -> tuple[TokenArray, IntArray]:
        """Token ids of all texts one after the other, and where each text ends among them.

        Raises:
            DataError: the tokenizer refuses a text.
        """
        pieces = [list(_pieces(text)) for text in texts]
        flat = itertools.chain.from_iterable(pieces)
        tokens, counts = self._encode(flat) if self._table is None else self._table.encode(flat)
        ends = np.concatenate([[0], np.cumsum(counts)])
        return tokens, ends[np.cumsum([len(each) for each in pieces], dtype=np.int64)]

    def _encode(self, texts: Iterable[str]) -> tuple[TokenArray, IntArray]:
        """Token ids of all texts one after the other, and how many each has, by the tokenizer itself."""
        flat: list[TokenArray] = []
        counts: list[int] = []
        for batch in _batches(texts):
            try:
                encoded = [
                    encoding.ids for encoding in self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)
                ]
            except Exception as error:  # the library raises bare Exception
                raise DataError(f"the tokenizer can't encode a text that begins {batch[0][:60]!r}: {error}") from error
            lengths = [len(ids) for ids in encoded]
            flat.append(np.fromiter(itertools.chain.from_iterable(encoded), dtype=np.int32, count=sum(lengths)))
            counts += lengths
        return np.concatenate(flat) if flat else np.empty(0, dtype=np.int32), np.array(counts, dtype=np.int64)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text) + _TEXT_OVERHEAD
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces, each cut before a space between two words, so that no word is parted."""
    begin = 0
    while len(text) - begin > _PIECE_CHARACTERS:
        end = _place_to_cut(text, begin)
        yield text[begin:end]
        begin = end
    yield text[begin:] if begin else text


def _place_to_cut(text: str, begin: int) -> int:
    """The last lone space of a piece; where it has none, the first one behind it; else the end of the text."""
    end = begin + _PIECE_CHARACTERS
    while (end := text.rfind(" ", begin + 1, end)) > 0:
        if _is_lone_space(text, end):
            return end
    end = begin + _PIECE_CHARACTERS - 1
    while (end := text.find(" ", end + 1)) > 0:
        if _is_lone_space(text, end):
            return end
    return len(text)


def _is_lone_space(text: str, at: int) -> bool:
    """Whether the space at `at` has no white space beside it, which tokenizers that keep it may take as one."""
    return not text[at - 1].isspace() and not text[at + 1 : at + 2].isspace()
