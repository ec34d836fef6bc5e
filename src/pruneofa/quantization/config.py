"""What is quantized, and on which grid."""

import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pruneofa.architectures import Role

__all__ = ["ACTIVATION_RANGE", "QuantizationConfig", "WeightGranularity", "WeightRange"]

WeightGranularity = Literal["per_channel", "per_tensor"]
"""One scale per output row of a weight, or one for the whole weight."""

WeightRange = Literal["symmetric_127", "symmetric_127.5"]
"""absmax/127 on the levels -127..127, or absmax/127.5 on -128..127."""

ACTIVATION_RANGE: tuple[int, int] = (0, 255)
"""Lowest and highest level of an activation (uint8)."""


class QuantizationConfig(BaseModel):
    """int8 weights, symmetric; uint8 activations, affine, one range per tensor (PruneOFA, section 4; see `authors`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight_granularity: WeightGranularity = Field(
        default="per_channel", description="One weight scale per output row (per_channel) or per weight (per_tensor)."
    )
    weight_range: WeightRange = Field(
        default="symmetric_127",
        description="Weight grid: absmax/127 with levels -127..127, or absmax/127.5 with levels -128..127.",
    )
    activation_averaging_constant: float = Field(
        default=0.01, gt=0.0, le=1.0, description="Share of a new batch's minimum and maximum in the moving average."
    )
    quantize_outputs: tuple[Role, ...] = Field(
        default=("q", "k", "ffn_in", "pooler"),
        description="Roles whose outputs are quantized too; inputs of every chosen Linear always are.",
    )
    targets: tuple[str, ...] = Field(
        default=("*",),
        min_length=1,
        description="Module names to quantize: globs, or `re:` and a regular expression, for the whole dotted name.",
    )
    ignore: tuple[str, ...] = Field(default=(), description="Module names to leave in float; patterns as in targets.")
    freeze_observers_step: int | None = Field(
        default=None, ge=1, description="Optimizer step from which activation ranges stay as they are; null: never."
    )

    @field_validator("targets", "ignore")
    @classmethod
    def _patterns_are_well_formed(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if not pattern.removeprefix("re:"):
                raise ValueError(
                    "a pattern must not be empty; write a module name, a glob such as '*.query' or 're:...'"
                )
            if pattern.startswith("re:"):
                try:
                    re.compile(pattern.removeprefix("re:"))
                except re.error as error:
                    raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return patterns

    @classmethod
    def authors(cls) -> Self:
        """The scheme of the method's authors: one scale per weight, absmax/127.5 on -128..127."""
        return cls(weight_granularity="per_tensor", weight_range="symmetric_127.5")

    @property
    def weight_levels(self) -> tuple[int, int]:
        """Lowest and highest level of a weight."""
        return (-127, 127) if self.weight_range == "symmetric_127" else (-128, 127)

    @property
    def weight_divisor(self) -> float:
        """What the largest magnitude is divided by to give the scale."""
        return 127.0 if self.weight_range == "symmetric_127" else 127.5
