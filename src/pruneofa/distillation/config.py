"""Settings of distillation."""

from typing import Literal

from pydantic import Field

from pruneofa.settings.base import Settings


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
