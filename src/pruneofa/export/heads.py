"""What of a model goes into the graph: its inputs, its head or a pooling, and the names of the outputs."""

import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pruneofa.errors import ConfigurationError

__all__ = ["HEADS", "POOLINGS", "Exportable", "Head", "head_of"]

POOLINGS = ("mean", "cls")
"""Ways to one vector for a text: mean over the tokens that the attention mask keeps, or the first token's state."""

Head = Literal["sequence_classification", "question_answering", "token_classification", "masked_lm", "encoder"]
"""What follows the encoder."""

HEADS: dict[str, tuple[Head, tuple[str, ...]]] = {
    "ForSequenceClassification": ("sequence_classification", ("logits",)),
    "ForQuestionAnswering": ("question_answering", ("start_logits", "end_logits")),
    "ForTokenClassification": ("token_classification", ("logits",)),
    "ForMaskedLM": ("masked_lm", ("logits",)),
}
"""Ending of a class's name -> head, and its outputs, as transformers names them."""


def head_of(model: nn.Module) -> tuple[Head, tuple[str, ...]]:
    """The head of a model of transformers and its outputs; the bare encoder gives `last_hidden_state`.

    Raises:
        ConfigurationError: The head can't be exported.
    """
    name = type(model).__name__
    for ending, head in HEADS.items():
        if name.endswith(ending):
            return head
    if getattr(model, "base_model", None) is model:
        return "encoder", ("last_hidden_state",)
    raise ConfigurationError(
        f"model is a {name}, which can't be exported to ONNX; allowed are bare encoders and {', '.join(HEADS)}"
    )


class Exportable(nn.Module):
    """A model whose inputs and outputs are plain tensors.

    Args:
        model: A model of transformers.
        pooling: One of `POOLINGS`: leave a head out, and pool the encoder's last states to one vector for each text.
        normalize: Scale that vector to length 1.

    Attributes:
        head: What follows the encoder.
        input_names: Names of the inputs, each int64 [batch, length].
        output_names: Names of the outputs, in order.

    Raises:
        ConfigurationError: The head can't be exported, or `normalize` without `pooling`.
    """

    def __init__(self, model: nn.Module, pooling: str | None = None, normalize: bool = False) -> None:
        super().__init__()
        if pooling is not None and pooling not in POOLINGS:
            raise ConfigurationError(f"pooling is {pooling!r}, allowed is {' or '.join(POOLINGS)}")
        if normalize and pooling is None:
            raise ConfigurationError("normalize needs pooling: only a text's one vector is scaled to length 1")
        self.head, self.output_names = head_of(model)
        if pooling is not None:
            self.head, self.output_names = "encoder", ("sentence_embedding",)
        self.model, self.pooling, self.normalize = model, pooling, normalize
        self.input_names: tuple[str, ...] = ("input_ids", "attention_mask")
        if _has_segments(model):
            self.input_names += ("token_type_ids",)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """The outputs, in the order of `output_names`."""
        inputs: dict[str, Tensor] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        if self.pooling is None:
            outputs: Any = self.model(**inputs)
            return tuple(outputs[name] for name in self.output_names)
        encoder: Callable[..., Any] = self.model.base_model  # type: ignore[assignment]
        states: Tensor = encoder(**inputs).last_hidden_state
        vectors = states[:, 0] if self.pooling == "cls" else _mean(states, attention_mask)
        return (nn.functional.normalize(vectors, dim=-1) if self.normalize else vectors,)


def _mean(states: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean of states [batch, length, d] over the tokens of the mask, as the sentence-transformers library has it."""
    kept = attention_mask.unsqueeze(-1).to(states.dtype)
    return (states * kept).sum(dim=1) / torch.clamp(kept.sum(dim=1), min=1e-9)


def _has_segments(model: nn.Module) -> bool:
    """Whether the encoder tells segments apart: it has at least two embeddings for them."""
    base: Any = model.base_model
    config = base.config
    takes = "token_type_ids" in inspect.signature(base.forward).parameters
    return takes and getattr(config, "type_vocab_size", 0) > 1
