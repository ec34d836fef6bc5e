"""What the data modules need to know of a tokenizer: identity, frame tokens, special ids, length limit."""

import hashlib
import itertools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pruneofa.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "check_max_length",
    "check_tokens_known",
    "frame_tokens",
    "pair_frame",
    "special_token_mask",
    "tokenizer_hash",
    "tokenizer_rules",
]


def tokenizer_hash(tokenizer: "PreTrainedTokenizerBase") -> str:
    """SHA-256 of the tokenizer's rules and vocabulary.

    Truncation and padding are left out: every call of a tokenizer changes them, they are no part of what it is.
    """
    rules = json.loads(_backend(tokenizer).to_str())
    rules["truncation"] = rules["padding"] = None
    return hashlib.sha256(json.dumps(rules, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def frame_tokens(tokenizer: "PreTrainedTokenizerBase") -> tuple[int, int]:
    """Ids of the token that opens a sequence and of the one that closes a segment: [CLS], [SEP] or <s>, </s>.

    Raises:
        DataError: the tokenizer has none.
    """
    start = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    end = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    if start is None or end is None:
        raise DataError(
            f"the tokenizer {type(tokenizer).__name__} has no token that opens and none that closes a sequence "
            f"(like [CLS] and [SEP]); use the tokenizer of a BERT-like encoder"
        )
    return int(start), int(end)


def tokenizer_rules(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The fast tokenizer in its JSON form, from which another process makes it again.

    Raises:
        DataError: it has no fast form.
    """
    return str(_backend(tokenizer).to_str())


def pair_frame(tokenizer: "PreTrainedTokenizerBase") -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Ids of the special tokens before, between and behind the two texts of a pair.

    For BERT [CLS], [SEP], [SEP]; for RoBERTa <s>, </s></s>, </s>. A tokenizer that knows no pairs gets BERT's order.

    Raises:
        DataError: as `frame_tokens`.
    """
    from tokenizers import Tokenizer

    plain = Tokenizer.from_str(tokenizer_rules(tokenizer))
    plain.no_padding()
    plain.no_truncation()
    encoded = plain.encode("a", "a")
    parts = [
        (special, tuple(token for _, token in group))
        for special, group in itertools.groupby(
            zip(encoded.special_tokens_mask, encoded.ids, strict=True), key=lambda pair: bool(pair[0])
        )
    ]
    if [special for special, _ in parts] == [True, False, True, False, True]:
        return parts[0][1], parts[2][1], parts[4][1]
    start, end = frame_tokens(tokenizer)
    return (start,), (end,), (end,)


def special_token_mask(tokenizer: "PreTrainedTokenizerBase") -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Boolean by token id (shape [vocabulary]): which ids are special tokens, the unknown token among them."""
    special = np.zeros(len(tokenizer), dtype=np.bool_)
    special[list(tokenizer.all_special_ids)] = True
    return special


def check_max_length(max_length: int, model_max_length: int | None) -> None:
    """Raise DataError if sequences of `max_length` tokens are longer than the model's positions allow."""
    if model_max_length is not None and max_length > model_max_length:
        raise DataError(
            f"max_length is {max_length}, but the model takes at most {model_max_length} tokens; "
            f"set max_length to {model_max_length} or less"
        )


def check_tokens_known(
    input_ids: Sequence[np.ndarray[Any, Any]], tokenizer: "PreTrainedTokenizerBase", rows: int
) -> None:
    """Refuse examples with a token that the model's table of words has no row for.

    Args:
        input_ids: token ids of each example.
        tokenizer: made them.
        rows: of the table (`vocab_size` in its config).

    Raises:
        DataError: there is one.
    """
    if len(tokenizer) <= rows:
        return
    for number, ids in enumerate(input_ids):
        if len(ids) and int(ids.max()) >= rows:
            token = int(ids.max())
            raise DataError(
                f"example {number} holds the token {tokenizer.convert_ids_to_tokens(token)!r:.80}, number {token}, but "
                f"the model's table has {rows} rows: the tokenizer is not the one that it was trained with; resize the "
                "model's embeddings (resize_token_embeddings) and train them, or take the token out of the tokenizer"
            )


def _backend(tokenizer: "PreTrainedTokenizerBase") -> Any:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise DataError(
            f"the tokenizer {type(tokenizer).__name__} has no fast (Rust) form; "
            f"load one whose folder holds tokenizer.json"
        )
    return cast(Any, backend)
