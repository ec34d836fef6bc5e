"""A model's predictions over a data set."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import DataLoader

__all__ = ["predict"]

_TARGETS = ("labels", "start_positions", "end_positions")


@torch.no_grad()
def predict(
    model: nn.Module,
    dataset: Any,
    collator: Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]],
    names: Sequence[str],
    *,
    batch_size: int = 64,
    bfloat16: bool = False,
) -> dict[str, list[npt.NDArray[np.float32]]]:
    """What a model predicts, by name of its output, each a row for every example; the model is in eval mode and back.

    Args:
        model: a model whose output has `names`, each with one row for each example.
        dataset: with `lengths`; batches hold examples of similar lengths.
        collator: makes a batch of examples.
        names: "logits", or "start_logits" and "end_logits", whose rows are as long as their example.
        batch_size: examples in a batch.
        bfloat16: compute products in bfloat16.
    """
    order = np.argsort(dataset.lengths, kind="stable")
    batches = [order[start : start + batch_size].tolist() for start in range(0, len(order), batch_size)]
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    rows: dict[str, list[Any]] = {name: [None] * len(order) for name in names}
    precision = torch.autocast(device.type, torch.bfloat16) if bfloat16 else contextlib.nullcontext()
    loader = DataLoader(dataset, batch_sampler=batches, collate_fn=collator)
    try:
        with precision:
            for indices, batch in zip(batches, loader, strict=True):
                output = model(**{name: value.to(device) for name, value in batch.items() if _is_input(name)})
                for name in names:
                    predicted = output[name].float().cpu().numpy()
                    # A row for each token is cut to the example's own, without the padding.
                    by_token = predicted.ndim == 2 and name != "logits"
                    for index, row in zip(indices, predicted, strict=True):
                        rows[name][index] = row[: dataset.lengths[index]].copy() if by_token else row
    finally:
        model.train(was_training)
    return rows


def _is_input(name: str) -> bool:
    return name not in _TARGETS and not name.startswith("teacher_")
