"""Dynamic masking for masked language modelling: BERT's 80/10/10, a pure function of seed, epoch and example.

"BERT: Pre-training of Deep Bidirectional Transformers" (arXiv 1810.04805), section 3.1 and appendix A.1: of the chosen
tokens 80 % become [MASK], 10 % a random token, 10 % stay; the loss is taken at the chosen tokens only. Chosen are
tokens, or whole words, as in BERT's later models: all pieces of a word or none. What becomes of a token is drawn for it
alone.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from pruneofa.data.pretraining.whole_words import Masking, continuation_mask
from pruneofa.data.randomness import Purpose, generator
from pruneofa.data.tokenization import special_token_mask
from pruneofa.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["IGNORED_LABEL", "MaskedLanguageModelDataset", "masked_example"]

IGNORED_LABEL = -100
"""Label of a position that takes no part in the loss (torch's `ignore_index`)."""

_MASK_SHARE = 0.8
_RANDOM_SHARE = 0.1
IntArray = npt.NDArray[np.int64]


def masked_example(
    input_ids: npt.NDArray[Any],
    special: npt.NDArray[np.bool_],
    *,
    mask_id: int,
    vocabulary_size: int,
    seed: int,
    epoch: int,
    index: int,
    probability: float = 0.15,
    goes_on: npt.NDArray[np.bool_] | None = None,
) -> tuple[IntArray, IntArray]:
    """Mask one sequence.

    Args:
        input_ids: token ids, shape [length].
        special: by token id, whether it is a special token (never chosen), shape [vocabulary].
        mask_id: id of the mask token.
        vocabulary_size: random tokens are drawn from [0, vocabulary_size).
        seed: the run's seed.
        epoch: pass over the data; another epoch gives another choice.
        index: the sequence's number in its data set.
        probability: chance of each token, or word, to be chosen; where none is, the likeliest one is chosen.
        goes_on: by token id, whether it goes on with the word before it, shape [vocabulary]; given, words are chosen.

    Returns:
        The masked ids and the labels (the original id where chosen, else -100), both int64 of shape [length].
    """
    original = input_ids.astype(np.int64)
    random = generator(Purpose.MASKING, seed, epoch, index)
    chance, action = random.random((2, original.size))
    substitutes = random.integers(0, vocabulary_size, original.size)
    if goes_on is not None:
        chance = chance[_word_starts(original, special, goes_on)]
    chance[special[original]] = 1.0
    chosen = chance < probability
    if not chosen.any() and original.size and chance.min() < 1.0:
        chosen = chance == chance.min()
    labels = np.where(chosen, original, IGNORED_LABEL)
    masked = np.where(chosen & (action < _MASK_SHARE), mask_id, original)
    replaced = chosen & (action >= _MASK_SHARE) & (action < _MASK_SHARE + _RANDOM_SHARE)
    return np.where(replaced, substitutes, masked), labels


def _word_starts(ids: IntArray, special: npt.NDArray[np.bool_], goes_on: npt.NDArray[np.bool_]) -> IntArray:
    """Position of the first token of each token's word, shape [length]."""
    begins = ~goes_on[ids]
    begins[1:] |= special[ids[:-1]]
    begins[:1] = True
    return np.maximum.accumulate(np.where(begins, np.arange(len(ids)), 0))


class MaskedLanguageModelDataset(Dataset[dict[str, Any]]):
    """Examples of a corpus, masked when they are read.

    The key `(epoch, index)` gives the masks of that epoch; a plain `index` those of epoch 0, so evaluation always sees
    the same masks.

    Args:
        examples: a corpus split (see `pruneofa.data.pretraining.corpus.load_corpus`), or any sequence of dicts with
            `input_ids`.
        tokenizer: gives the special ids, the mask token and the size of the vocabulary.
        seed: the run's seed.
        probability: chance of a token to be masked, in (0, 1).
        masking: whether `tokens` are chosen one by one, or `whole_words`.

    Attributes:
        lengths: tokens of each example, shape [examples].

    Raises:
        DataError: the tokenizer has no mask token, or, for whole words, doesn't show where words begin.
    """

    def __init__(
        self,
        examples: Sequence[dict[str, Any]] | Any,
        tokenizer: "PreTrainedTokenizerBase",
        seed: int,
        probability: float = 0.15,
        masking: Masking = "tokens",
    ) -> None:
        if tokenizer.mask_token_id is None:
            raise DataError(
                f"the tokenizer {type(tokenizer).__name__} has no mask token; "
                f"masked language modelling needs the tokenizer of a BERT-like encoder"
            )
        self._examples = examples
        self._special = special_token_mask(tokenizer)
        self._goes_on = continuation_mask(tokenizer) if masking == "whole_words" else None
        self._mask_id = int(tokenizer.mask_token_id)
        self._seed = seed
        self._probability = probability
        self.lengths: npt.NDArray[np.int64] = _lengths(examples)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        """The masked example: `input_ids`, `labels`, `attention_mask`, each a list [length].

        Of segment pairs also `token_type_ids` (list: 0 in the first segment, 1 in the second) and
        `next_sentence_label` (0: the second segment follows the first, 1: it is random).
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        example = self._examples[index]
        ids, labels = masked_example(
            np.asarray(example["input_ids"], dtype=np.int64),
            self._special,
            mask_id=self._mask_id,
            vocabulary_size=len(self._special),
            seed=self._seed,
            epoch=epoch,
            index=index,
            probability=self._probability,
            goes_on=self._goes_on,
        )
        masked: dict[str, Any] = {
            "input_ids": ids.tolist(),
            "labels": labels.tolist(),
            "attention_mask": [1] * ids.size,
        }
        if "second_segment" in example:
            second = int(example["second_segment"])
            masked["token_type_ids"] = [0] * second + [1] * (ids.size - second)
            masked["next_sentence_label"] = int(example["next_sentence_label"])
        return masked

    def documents(self, index: int) -> list[int]:
        """Numbers, in source order, of the documents whose text is in an example; empty where they are not known."""
        return [int(number) for number in self._examples[index].get("documents", ())]


def _lengths(examples: Any) -> npt.NDArray[np.int64]:
    if "length" in getattr(examples, "column_names", ()):
        return np.asarray(examples["length"][:], dtype=np.int64)
    return np.array([len(example["input_ids"]) for example in examples], dtype=np.int64)
