"""Run a model's token head only where its predictions are needed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pruneofa.errors import ConfigurationError


@contextmanager
def head_on_tokens(model: nn.Module, selection: Tensor) -> Iterator[None]:
    """Within the block, heads of `model` see only the selected tokens' hidden states, as one sequence.

    The vocabulary's product outweighs a small encoder, so logits for tokens that no loss looks at are waste. Works for
    any model of transformers whose head treats each token on its own (masked language models); a sequence-level head
    fed by the pooler (next sentence) is unaffected.

    Args:
        model: a model with a head; its forward pass must be called without `labels`.
        selection: boolean `[batch, length]`; the logits come out as `[1, selected, vocabulary]`.
    """

    def gather(_module: nn.Module, _args: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[selection].unsqueeze(0)
        return output

    handle = model.base_model.register_forward_hook(gather)  # type: ignore[union-attr]
    try:
        yield
    finally:
        handle.remove()


def select_tokens(batch: Mapping[str, Tensor], tokens: str) -> Tensor:
    """Which tokens' predictions count: boolean `[batch, length]`.

    Args:
        batch: with `labels` `[batch, length]` (-100 where there is none) and, for padded batches, `attention_mask`.
        tokens: "masked", or "all" for all but padding.

    Raises:
        ConfigurationError: masked tokens are asked for, and the batch doesn't say which these are.
    """
    if tokens == "masked":
        if "labels" not in batch:
            raise ConfigurationError(
                "tokens is 'masked', but the batch has no `labels` to tell which tokens are; pass them, or set tokens "
                "to 'all'"
            )
        return batch["labels"] != -100
    if "attention_mask" in batch:
        return batch["attention_mask"].bool()
    return torch.ones_like(batch["input_ids"], dtype=torch.bool)
