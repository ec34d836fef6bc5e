"""A model's logits over a data set, and a teacher's kept beside the examples."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from pruneofa.errors import DataError

_TARGETS = ("labels", "teacher_logits")


@torch.no_grad()
def predict_logits(
    model: nn.Module,
    dataset: Any,
    collator: Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]],
    *,
    batch_size: int = 64,
    bfloat16: bool = False,
) -> npt.NDArray[np.float32]:
    """Logits `[examples, classes]` in the data set's order; the model is in eval mode and back.

    Args:
        model: a model whose output has `logits` of one row for each example.
        dataset: with `lengths`; batches hold examples of similar lengths.
        collator: makes a batch of examples.
        batch_size: examples in a batch.
        bfloat16: compute products in bfloat16.
    """
    order = np.argsort(dataset.lengths, kind="stable")
    batches = [order[start : start + batch_size].tolist() for start in range(0, len(order), batch_size)]
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    rows: dict[int, npt.NDArray[np.float32]] = {}
    precision = torch.autocast(device.type, torch.bfloat16) if bfloat16 else contextlib.nullcontext()
    loader = DataLoader(dataset, batch_sampler=batches, collate_fn=collator)
    try:
        with precision:
            for indices, batch in zip(batches, loader, strict=True):
                inputs = {name: value.to(device) for name, value in batch.items() if name not in _TARGETS}
                logits = model(**inputs).logits.float().cpu().numpy()
                rows.update(zip(indices, logits, strict=True))
    finally:
        model.train(was_training)
    return np.stack([rows[index] for index in range(len(rows))])


class WithTeacherLogits(Dataset[dict[str, Any]]):
    """A data set whose examples also carry the teacher's logits, so that the teacher need not run again.

    Args:
        dataset: the examples; its teacher saw them without dropout, so its answer never changes.
        logits: `[examples, classes]`, in the data set's order.

    Raises:
        DataError: there are more or fewer logits than examples.
    """

    def __init__(self, dataset: Any, logits: npt.NDArray[np.float32]) -> None:
        if len(dataset) != len(logits):
            raise DataError(
                f"there are {len(logits)} rows of teacher logits for {len(dataset)} examples; compute them on these"
            )
        self._dataset = dataset
        self._logits = logits
        self.lengths = dataset.lengths

    def __len__(self) -> int:
        return len(self._logits)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        index = key[1] if isinstance(key, tuple) else key
        return {**self._dataset[key], "teacher_logits": self._logits[index].tolist()}
