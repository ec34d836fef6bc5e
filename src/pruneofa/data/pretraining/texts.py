"""A corpus's examples as they are, for models that learn from a teacher alone."""

from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

__all__ = ["TextDataset"]


class TextDataset(Dataset[dict[str, Any]]):
    """Token ids by index, or by `(epoch, index)`: nothing here is random, so the epoch makes no difference.

    Args:
        examples: a corpus split (see `pruneofa.data.pretraining.corpus.load_corpus`) with `input_ids` and `length`.
    """

    def __init__(self, examples: Any) -> None:
        self._examples = examples
        self.lengths: npt.NDArray[np.int64] = np.asarray(examples["length"], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        index = key[1] if isinstance(key, tuple) else key
        return {"input_ids": np.asarray(self._examples[int(index)]["input_ids"], dtype=np.int64)}
