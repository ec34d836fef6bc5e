"""What of a batch a model is given, and how the sequences of a packed batch are kept apart."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_MODEL_INPUTS = (
    "input_ids",
    "attention_mask",
    "token_type_ids",
    "position_ids",
    "inputs_embeds",
    # Where several sequences lie in one row; the names are those of transformers' flash attention.
    "cu_seq_lens_q",
    "cu_seq_lens_k",
    "max_length_q",
    "max_length_k",
)


def model_inputs(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a forward pass, without labels.

    Args:
        batch: of `PaddingCollator` or `PackingCollator` (`pruneofa.data`). With `sequence_ids` `[rows, length]` (0:
            padding, else the number of the sequence within its row) each token is to see its own sequence alone.
    """
    inputs = {name: batch[name] for name in _MODEL_INPUTS if name in batch}
    if "sequence_ids" in batch:
        inputs["attention_mask"] = block_mask(batch["sequence_ids"])
    return inputs


def block_mask(sequence_ids: Tensor) -> Tensor:
    """The additive mask `[rows, 1, length, length]` that keeps the sequences of a row apart.

    It is a float, which every way of computing attention takes: 0 where a token sees another, else the lowest number,
    so that the softmax gives exactly 0. Padding sees padding, so that no row of the softmax is empty.
    """
    same = sequence_ids[:, None, :, None] == sequence_ids[:, None, None, :]
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(same.shape, device=same.device).masked_fill_(~same, lowest)


@contextmanager
def pooling_each_sequence(model: nn.Module, batch: Mapping[str, Any]) -> Iterator[None]:
    """Within the block the pooler sees the first token of every sequence, not of every row.

    Args:
        model: the model inside any wrapper; without a pooler nothing is done.
        batch: a packed one has `sequence_starts` `[sequences]`, places in the flattened rows; else nothing is done.
    """
    pooler = getattr(model.base_model, "pooler", None)
    starts = batch.get("sequence_starts")
    if starts is None or not isinstance(pooler, nn.Module):
        yield
        return

    def first_tokens(_module: nn.Module, args: Any) -> Any:
        return (args[0].flatten(0, 1)[starts].unsqueeze(1), *args[1:])

    handle = pooler.register_forward_pre_hook(first_tokens)
    try:
        yield
    finally:
        handle.remove()
