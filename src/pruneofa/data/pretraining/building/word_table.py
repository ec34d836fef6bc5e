"""Token ids by table: each different word of a text is tokenised once.

A tokenizer of BERT's family parts a text at white space and at punctuation before all else, so the ids of a text are
those of its words and signs, one after the other. Few of them are different, and looking ids up is several times as
fast as finding them.
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from pruneofa.data.pretraining.building.examples import gather
from pruneofa.data.pretraining.building.sentences import SENTENCE_MARK

__all__ = ["WordTable", "tokenizes_word_by_word"]

IntArray = npt.NDArray[np.int64]
TokenArray = npt.NDArray[np.int32]

# Signs that stand at words so often that with them half as many words again would be different. Others, and white space
# but for spaces and line ends, stay inside of words, where the tokenizer finds them.
_SIGNS = (*".,:;()\"'/-", SENTENCE_MARK)
# About 50 MB of words; with more the table begins anew.
_MOST_TOKENS = 1_000_000


def tokenizes_word_by_word(rules: str) -> bool:
    """Whether a tokenizer gives the words and signs of any text the same ids that it gives each of them alone.

    Args:
        rules: the fast tokenizer in its JSON form.
    """
    parts = json.loads(rules)
    by_type = {name: (parts.get(name) or {}).get("type") for name in ("normalizer", "pre_tokenizer", "model")}
    return (
        by_type["normalizer"] in (None, "BertNormalizer")
        and by_type["pre_tokenizer"] == "BertPreTokenizer"
        and by_type["model"] == "WordPiece"
        and not any(map(_may_reach_over_words, parts.get("added_tokens") or ()))
    )


def _may_reach_over_words(added: dict[str, object]) -> bool:
    """Whether a token that is found in the text before all else may hold a sign or depend on what is beside it."""
    content = str(added.get("content"))
    inside = any(character.isspace() or character in _SIGNS for character in content)
    return inside or bool(added.get("normalized")) or bool(added.get("single_word"))


class WordTable:
    """The ids of words seen so far.

    Args:
        encode: gives the token ids of some texts one after the other, and how many each has. Must be of a tokenizer of
            which `tokenizes_word_by_word` holds.
    """

    def __init__(self, encode: Callable[[list[str]], tuple[TokenArray, IntArray]]) -> None:
        self._encode = encode
        self._begin_anew()

    def encode(self, texts: Iterable[str]) -> tuple[TokenArray, IntArray]:
        """As the tokenizer's own: token ids of all texts one after the other, and how many each has."""
        if len(self._tokens) > _MOST_TOKENS:
            self._begin_anew()
        numbered = [self._numbers_of(text) for text in texts]
        if not numbered:
            return self._tokens[:0], np.empty(0, dtype=np.int64)
        self._learn_new_words()
        words = np.concatenate(numbered)
        begins = self._offsets[words]
        lengths = self._offsets[words + 1] - begins
        starts = np.cumsum([0, *map(len, numbered[:-1])])  # each text has a word, if only the empty one
        return gather(self._tokens, begins, lengths), np.add.reduceat(lengths, starts)

    def _begin_anew(self) -> None:
        self._numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)
        self._tokens: TokenArray = np.empty(0, dtype=np.int32)
        self._offsets: IntArray = np.zeros(1, dtype=np.int64)  # of the words in `_tokens`

    def _numbers_of(self, text: str) -> npt.NDArray[np.int32]:
        """The number of each word; one that is new gets the next."""
        for sign in _SIGNS:
            text = text.replace(sign, f" {sign} ")
        words = text.replace("\n", " ").split(" ")
        return np.fromiter(map(self._numbers.__getitem__, words), dtype=np.int32, count=len(words))

    def _learn_new_words(self) -> None:
        count = len(self._numbers) - (len(self._offsets) - 1)
        words = list(itertools.islice(reversed(self._numbers), count))[::-1]
        tokens, lengths = self._encode(words)
        self._offsets = np.concatenate([self._offsets, self._offsets[-1] + np.cumsum(lengths)])
        self._tokens = np.concatenate([self._tokens, tokens])
