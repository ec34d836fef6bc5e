"""Settings of distillation."""

from typing import Literal

from pydantic import Field

from pruneofa.settings.base import Settings

EmbeddingPooling = Literal["mean", "cls"]
"""How a sentence encoder makes one vector of a text's tokens."""


class DistillationConfig(Settings):
    """How much and what the student learns from its teacher."""

    temperature: float = Field(
        2.0, gt=0.0, allow_inf_nan=False, description="divides the logits of both before the softmax"
    )
    hardness: float = Field(
        0.5,
        ge=0.0,
        le=1.0,
        allow_inf_nan=False,
        description="weight of the distillation loss; 1 - hardness is that of the task's own",
    )
    tokens: Literal["all", "masked"] = Field(
        "all", description="tokens whose predictions are distilled: all but padding (the authors' way), or masked ones"
    )
    hidden_loss: Literal["none", "cosine", "mse", "normalized_mse"] = Field(
        "none",
        description="loss on hidden states: DistilBERT's cosine, TinyBERT's squared error, SquareHead's normalized one",
    )
    hidden_weight: float = Field(1.0, ge=0.0, allow_inf_nan=False, description="weight of the loss on hidden states")
    attention_loss: Literal["none", "mse"] = Field("none", description="loss on attention probabilities")
    attention_weight: float = Field(
        1.0, ge=0.0, allow_inf_nan=False, description="weight of the loss on attention probabilities"
    )
    layer_map: dict[int, int] | None = Field(
        None,
        min_length=1,
        description="student layer -> teacher layer, 0 = the embeddings' output; needed when depths differ",
    )

    @property
    def needs_features(self) -> bool:
        """Whether hidden states or attentions are learned from, not only predictions."""
        return self.hidden_loss != "none" or self.attention_loss != "none"


class EmbeddingDistillationConfig(Settings):
    """What a sentence encoder learns from its dense self; no labels and no vocabulary are needed."""

    hidden_weight: float = Field(
        1.0,
        ge=0.0,
        allow_inf_nan=False,
        description="weight of the states of all tokens in every layer, each layer's error divided by its energy",
    )
    embedding_weight: float = Field(
        1.0, ge=0.0, allow_inf_nan=False, description="weight of 1 - cosine of the texts' embeddings"
    )
    relation_weight: float = Field(
        1.0, ge=0.0, allow_inf_nan=False, description="weight of how the texts of a batch relate to each other"
    )
    relation_temperature: float = Field(
        0.1, gt=0.0, allow_inf_nan=False, description="divides the cosines to the other texts before the softmax"
    )
    pooling: EmbeddingPooling | None = Field(
        None, description="mean of the tokens, or the first one (default: what the model's folder says, else mean)"
    )
