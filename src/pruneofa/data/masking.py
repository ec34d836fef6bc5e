"""Dynamic masking for masked language modelling: BERT's 80/10/10, a pure function of seed, epoch and example.

"BERT: Pre-training of Deep Bidirectional Transformers" (arXiv 1810.04805), section 3.1 and appendix A.1: of the chosen
tokens 80 % become [MASK], 10 % a random token, 10 % stay; the loss is taken at the chosen tokens only.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

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
        probability: chance of each token to be chosen; where none is, the likeliest one is chosen.

    Returns:
        The masked ids and the labels (the original id where chosen, else -100), both int64 of shape [length].
    """
    original = input_ids.astype(np.int64)
    random = generator(Purpose.MASKING, seed, epoch, index)
    chance, action = random.random((2, original.size))
    substitutes = random.integers(0, vocabulary_size, original.size)
    chance[special[original]] = 1.0
    chosen = chance < probability
    if not chosen.any() and original.size and chance.min() < 1.0:
        chosen[chance.argmin()] = True
    labels = np.where(chosen, original, IGNORED_LABEL)
    masked = np.where(chosen & (action < _MASK_SHARE), mask_id, original)
    replaced = chosen & (action >= _MASK_SHARE) & (action < _MASK_SHARE + _RANDOM_SHARE)
    return np.where(replaced, substitutes, masked), labels


class MaskedLanguageModelDataset(Dataset[dict[str, list[int]]]):
    """Blocks of a corpus, masked when they are read.

    The key `(epoch, index)` gives the masks of that epoch; a plain `index` those of epoch 0, so evaluation always sees
    the same masks.

    Args:
        blocks: a corpus split (see `pruneofa.data.corpus.load_corpus`), or any sequence of dicts with `input_ids`.
        tokenizer: gives the special ids, the mask token and the size of the vocabulary.
        seed: the run's seed.
        probability: chance of a token to be masked, in (0, 1).

    Attributes:
        lengths: tokens of each block, shape [blocks].

    Raises:
        DataError: the tokenizer has no mask token.
    """

    def __init__(
        self,
        blocks: Sequence[dict[str, Any]] | Any,
        tokenizer: "PreTrainedTokenizerBase",
        seed: int,
        probability: float = 0.15,
    ) -> None:
        if tokenizer.mask_token_id is None:
            raise DataError(
                f"the tokenizer {type(tokenizer).__name__} has no mask token; "
                f"masked language modelling needs the tokenizer of a BERT-like encoder"
            )
        self._blocks = blocks
        self._special = special_token_mask(tokenizer)
        self._mask_id = int(tokenizer.mask_token_id)
        self._seed = seed
        self._probability = probability
        self.lengths: npt.NDArray[np.int64] = _lengths(blocks)

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, list[int]]:
        """The masked block: `input_ids`, `labels`, `attention_mask`, each a list [length]."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        ids, labels = masked_example(
            np.asarray(self._blocks[index]["input_ids"], dtype=np.int64),
            self._special,
            mask_id=self._mask_id,
            vocabulary_size=len(self._special),
            seed=self._seed,
            epoch=epoch,
            index=index,
            probability=self._probability,
        )
        return {"input_ids": ids.tolist(), "labels": labels.tolist(), "attention_mask": [1] * ids.size}


def _lengths(blocks: Any) -> npt.NDArray[np.int64]:
    if "length" in getattr(blocks, "column_names", ()):
        return np.asarray(blocks["length"][:], dtype=np.int64)
    return np.array([len(block["input_ids"]) for block in blocks], dtype=np.int64)
