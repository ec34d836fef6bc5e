"""A tokenised, labelled split: what a task model is trained and evaluated on."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["UNLABELLED", "EncodedDataset", "encode_texts", "token_fields"]

UNLABELLED = -1
"""The class number of an example without a label."""

_TOKENIZE_BATCH = 1000
Texts = list[str] | list[tuple[str, str]]
IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class EncodedDataset:
    """Tokenised texts (or pairs) with their labels, in the source's order.

    The key may be an index or `(epoch, index)` (see `pruneofa.data.batches.batching.EpochBatchSampler`); nothing here
    is random, so the epoch makes no difference.

    Attributes:
        texts: the texts, or pairs of texts, as read.
        labels: class numbers (int64) or, in regression, numbers (float32), shape [examples]; -1 or NaN without a label.
        input_ids: token ids of each example, special tokens included.
        token_type_ids: segment of each token, for pairs if the tokenizer's model tells segments apart; else None.
        truncated: how many examples were longer than allowed and were cut.
        lengths: tokens of each example, shape [examples].
    """

    texts: Texts
    labels: npt.NDArray[Any]
    input_ids: list[IntArray]
    token_type_ids: list[IntArray] | None
    truncated: int
    lengths: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", np.array([len(ids) for ids in self.input_ids], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """Which examples have a label, shape [examples]."""
        known = self.labels == self.labels if self.labels.dtype.kind == "f" else self.labels != UNLABELLED
        return np.asarray(known, dtype=np.bool_)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        """One example: `input_ids`, `attention_mask`, `token_type_ids` where there are any, and `label`."""
        index = key[1] if isinstance(key, tuple) else key
        return {**token_fields(self.input_ids, self.token_type_ids, index), "label": self.labels[index].item()}


def token_fields(input_ids: list[IntArray], token_type_ids: list[IntArray] | None, index: int) -> dict[str, Any]:
    """What a model reads of one sequence: `input_ids`, `attention_mask`, and `token_type_ids` where there are any."""
    ids = input_ids[index].tolist()
    fields: dict[str, Any] = {"input_ids": ids, "attention_mask": [1] * len(ids)}
    if token_type_ids is not None:
        fields["token_type_ids"] = token_type_ids[index].tolist()
    return fields


def encode_texts(
    texts: Texts, labels: npt.NDArray[Any], tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> EncodedDataset:
    """Tokenise texts or pairs, cut to `max_length` tokens; of a pair the longer text is cut first."""
    pairs = bool(texts) and isinstance(texts[0], tuple)
    segments = "token_type_ids" in tokenizer.model_input_names
    input_ids: list[IntArray] = []
    token_type_ids: list[IntArray] = []
    truncated = 0
    for begin in range(0, len(texts), _TOKENIZE_BATCH):
        batch = texts[begin : begin + _TOKENIZE_BATCH]
        encoded = _encode(batch, pairs, segments, tokenizer, None)
        long = [position for position, ids in enumerate(encoded["input_ids"]) if len(ids) > max_length]
        if long:
            cut = _encode([batch[position] for position in long], pairs, segments, tokenizer, max_length)
            for column in encoded:
                for position, ids in zip(long, cut[column], strict=True):
                    encoded[column][position] = ids
        truncated += len(long)
        input_ids += [np.array(ids, dtype=np.int32) for ids in encoded["input_ids"]]
        if segments:
            token_type_ids += [np.array(ids, dtype=np.int32) for ids in encoded["token_type_ids"]]
    # All 0 is what a model takes where it is given none.
    told = segments and (pairs or any(ids.any() for ids in token_type_ids))
    return EncodedDataset(texts, labels, input_ids, token_type_ids if told else None, truncated)


def _encode(
    batch: list[Any], pairs: bool, segments: bool, tokenizer: "PreTrainedTokenizerBase", max_length: int | None
) -> dict[str, list[list[int]]]:
    encoded = tokenizer(
        [first for first, _ in batch] if pairs else batch,
        [second for _, second in batch] if pairs else None,
        truncation=False if max_length is None else "longest_first",
        max_length=max_length,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=segments,
        verbose=False,
    )
    return {column: list(encoded[column]) for column in ("input_ids", "token_type_ids")[: 2 if segments else 1]}
