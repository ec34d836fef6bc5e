"""Which tokens begin a word, told by their ids alone, for masking whole words.

A word is a stretch of letters and digits, or a single other sign. How a tokenizer marks the pieces of one depends on
its kind: WordPiece puts `##` before all pieces but the first; byte-level BPE (RoBERTa) and SentencePiece put a sign for
the space before the first.
"""

import json
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from pruneofa.data.tokenization import tokenizer_rules
from pruneofa.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Masking", "continuation_mask"]

Masking = Literal["tokens", "whole_words"]
"""What is chosen to be predicted."""

_BYTE_SPACES = ("\u0120", "\u010a", "\u0109", "\u010d")  # byte-level BPE's signs for space and line ends
_SENTENCEPIECE_SPACE = "\u2581"


def continuation_mask(tokenizer: "PreTrainedTokenizerBase") -> npt.NDArray[np.bool_]:
    """By token id, whether the token goes on with the word of the token before it, shape [vocabulary].

    Raises:
        DataError: the tokenizer's pieces don't show where words begin.
    """
    rules = json.loads(tokenizer_rules(tokenizer))
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    prefix = rules["model"].get("continuing_subword_prefix")
    if rules["model"]["type"] == "WordPiece" and prefix:
        goes_on = [token.startswith(prefix) for token in tokens]
    elif _uses(rules, "ByteLevel"):
        goes_on = [not token.startswith(_BYTE_SPACES) and _begins_with_word_byte(token) for token in tokens]
    elif _uses(rules, "Metaspace") or any(token.startswith(_SENTENCEPIECE_SPACE) for token in tokens):
        goes_on = [not token.startswith(_SENTENCEPIECE_SPACE) and token[:1].isalnum() for token in tokens]
    else:
        raise DataError(
            f"the tokenizer {type(tokenizer).__name__} ({rules['model']['type']}) doesn't show where words begin; "
            "set masking to tokens"
        )
    mask = np.array(goes_on, dtype=np.bool_)
    mask[list(tokenizer.all_special_ids)] = False
    return mask


def _uses(rules: dict[str, Any], kind: str) -> bool:
    """Whether the pre-tokenizer is, or has as a step, one of this kind."""
    step = rules.get("pre_tokenizer") or {}
    return step.get("type") == kind or any(inner.get("type") == kind for inner in step.get("pretokenizers", ()))


def _begins_with_word_byte(token: str) -> bool:
    """Whether the first byte is a letter, a digit, or a part of a character beyond ASCII.

    Byte-level BPE writes printable ASCII as itself; all other bytes stand as characters beyond it.
    """
    return token[:1].isalnum() or token[:1] > "\x7f"
