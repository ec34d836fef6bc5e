"""What of a model goes into the graph: its inputs, its head or a pooling, and the names of the outputs."""

import inspect
from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from pruneofa.errors import ConfigurationError
from pruneofa.export.sentences import SentenceVector
from pruneofa.folder.sentence_modules import POOLING_MODES, Normalize, Pooling, SentenceModules

__all__ = ["HEADS", "Exportable", "Head", "head_of"]

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
        pooling: One of `POOLING_MODES`: leave a head out, and pool the encoder's last states to one vector for each
            text.
        normalize: Scale that vector to length 1.
        sentence: In place of both: what makes the vector of the states.
        token_types: Whether the tokenizer gives them; where it does not, the graph does not ask for them.

    Attributes:
        head: What follows the encoder.
        input_names: Names of the inputs, each int64 [batch, length].
        output_names: Names of the outputs, in order.

    Raises:
        ConfigurationError: The head can't be exported, or `normalize` without `pooling`.
    """

    def __init__(
        self,
        model: nn.Module,
        pooling: str | None = None,
        normalize: bool = False,
        *,
        sentence: SentenceVector | None = None,
        token_types: bool = True,
    ) -> None:
        super().__init__()
        if pooling is not None and pooling not in POOLING_MODES:
            raise ConfigurationError(f"pooling is {pooling!r}, allowed is {' or '.join(POOLING_MODES)}")
        if normalize and pooling is None:
            raise ConfigurationError("normalize needs pooling: only a text's one vector is scaled to length 1")
        self.head, self.output_names = head_of(model)
        if pooling is not None:
            sentence = SentenceVector(SentenceModules(Pooling((pooling,)), (Normalize(),) if normalize else ()))
        if sentence is not None:
            self.head, self.output_names = "encoder", ("sentence_embedding",)
        self.model, self.sentence = model, sentence
        self.input_names: tuple[str, ...] = ("input_ids", "attention_mask")
        if token_types and _has_segments(model):
            self.input_names += ("token_type_ids",)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """The outputs, in the order of `output_names`."""
        inputs: dict[str, Tensor] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        if self.sentence is None:
            outputs: Any = self.model(**inputs)
            return tuple(outputs[name] for name in self.output_names)
        encoder: Callable[..., Any] = self.model.base_model  # type: ignore[assignment]
        states: Tensor = encoder(**inputs).last_hidden_state
        return (self.sentence(states, attention_mask),)


def _has_segments(model: nn.Module) -> bool:
    """Whether the encoder tells segments apart: it has at least two embeddings for them."""
    base: Any = model.base_model
    config = base.config
    takes = "token_type_ids" in inspect.signature(base.forward).parameters
    return takes and getattr(config, "type_vocab_size", 0) > 1
