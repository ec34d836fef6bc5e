"""What is quantized, and on which grid."""

import re
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, ValidationInfo, field_validator

from pruneofa.architectures.families import ROLE_NAMES, Role
from pruneofa.quantization.grid import WeightGrid, weight_levels
from pruneofa.settings.base import Settings

__all__ = [
    "ACTIVATION_RANGE",
    "ActivationRange",
    "CalibrationConfig",
    "EmbeddingGranularity",
    "QuantizationConfig",
    "WeightGranularity",
    "WeightRange",
    "WeightScale",
]

WeightGranularity = Literal["per_channel", "per_tensor"]
"""One scale per output row of a weight, or one for the whole weight."""

WeightRange = Literal["symmetric_127", "symmetric_127.5"]
"""absmax/127 on the levels -127..127, or absmax/127.5 on -128..127; with fewer bits the same at 2^(bits-1)."""

WeightScale = Literal["absmax", "mse"]
"""The scale follows the largest magnitude, or is chosen once for the smallest squared error."""

ActivationRange = Literal["moving_average", "minmax", "percentile", "mse"]
"""How the range of an activation is found."""

EmbeddingGranularity = Literal["float", "per_row", "per_tensor"]
"""Embedding tables stay in float, or have one scale per row (token, position), or one per table."""

ACTIVATION_RANGE: tuple[int, int] = (0, 255)
"""Lowest and highest level of an activation (uint8)."""

_Patterns = TypeVar("_Patterns", tuple[str, ...], dict[str, float])
_PRODUCT_ROLES: tuple[Role, ...] = ("q", "k", "v")


class QuantizationConfig(Settings):
    """int8 weights, symmetric; uint8 activations, affine, one range per tensor (PruneOFA, section 4; see `authors`).

    The same for quantization-aware training and for calibration after training.
    """

    weight_bits: int = Field(
        default=8, ge=2, le=8, description="Bits of a weight's level; stored as int8 all the same."
    )
    weight_granularity: WeightGranularity = Field(
        default="per_channel", description="One weight scale per output row (per_channel) or per weight (per_tensor)."
    )
    weight_range: WeightRange = Field(
        default="symmetric_127",
        description="Weight grid: absmax/127 with levels -127..127, or absmax/127.5 with levels -128..127; with fewer "
        "bits the same at 2^(bits-1).",
    )
    weight_scale: WeightScale = Field(
        default="absmax",
        description="absmax: the scale follows the largest weight. mse: chosen for the smallest squared error when the "
        "model is prepared, fixed from then on.",
    )
    weight_step: float = Field(
        default=1.0,
        ge=1.0,
        le=127.0,
        description="Step of the weight grid as a multiple of absmax/127: above 1 a coarser grid, whose levels take "
        "fewer bits in a packed file.",
    )
    weight_steps: dict[str, Annotated[float, Field(ge=1.0, le=127.0)]] = Field(
        default_factory=dict,
        description="weight_step of single modules: pattern as in targets -> multiple; the first that fits holds.",
    )
    keep_pattern: bool = Field(
        default=True,
        description="Store which weights of a sparse pattern round to 0 (4 bytes each), so that it can be restored.",
    )
    embeddings: EmbeddingGranularity = Field(
        default="float", description="Embedding tables: float, or int8 with a scale per row or per table."
    )
    embedding_bits: int = Field(default=8, ge=2, le=8, description="Bits of a level of an embedding table.")
    activation_range: ActivationRange = Field(
        default="moving_average",
        description="Range of an activation: moving average of each batch's minimum and maximum; all that was seen "
        "(minmax); percentile; or the smallest squared error (mse). The last two are calibrated before training, "
        "and rest.",
    )
    activation_averaging_constant: float = Field(
        default=0.01, gt=0.0, le=1.0, description="Share of a new batch's minimum and maximum in the moving average."
    )
    activation_percentile: float = Field(
        default=99.99, gt=50.0, le=100.0, description="For percentile: share of the values below the upper end, in %."
    )
    quantize_outputs: tuple[Role, ...] = Field(
        default=("q", "k", "ffn_in", "pooler"),
        description="Roles whose outputs are quantized too; inputs of every chosen Linear always are.",
    )
    attention_products: bool = Field(
        default=False, description="Attention's two products in int8; outputs of q, k and v are then quantized."
    )
    targets: tuple[str, ...] = Field(
        default=("*",),
        min_length=1,
        description="Module names to quantize: globs, or `re:` and a regular expression, for the whole dotted name.",
    )
    ignore: tuple[str, ...] = Field(
        default=(), description="Module names to leave in float, embedding tables too; patterns as in targets."
    )
    freeze_observers_step: int | None = Field(
        default=None, ge=1, description="Optimizer step from which activation ranges stay as they are; null: never."
    )

    @field_validator("targets", "ignore", "weight_steps")
    @classmethod
    def _patterns_are_well_formed(cls, patterns: _Patterns) -> _Patterns:
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

    @field_validator("weight_step")
    @classmethod
    def _one_choice_of_step(cls, step: float, info: ValidationInfo) -> float:
        if step != 1.0 and info.data.get("weight_scale") == "mse":
            raise ValueError(
                f"is {step}, but weight_scale is 'mse', which chooses the step itself; leave out one of them"
            )
        return step

    @field_validator("weight_steps")
    @classmethod
    def _one_choice_of_steps(cls, steps: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        if steps and info.data.get("weight_scale") == "mse":
            raise ValueError(
                "are given, but weight_scale is 'mse', which chooses the step itself; leave out one of them"
            )
        return steps

    @classmethod
    def authors(cls) -> Self:
        """The scheme of the method's authors: one scale per weight, absmax/127.5 on -128..127."""
        return cls(weight_granularity="per_tensor", weight_range="symmetric_127.5")

    def weight_grid(self, step: float | None = None) -> WeightGrid:
        """The grid of a Linear's weight.

        Args:
            step: In place of `weight_step`, for a module that `weight_steps` names.
        """
        return WeightGrid(
            self.weight_granularity == "per_channel",
            *weight_levels(self.weight_bits, self.weight_range == "symmetric_127.5"),
            step=self.weight_step if step is None else step,
            least_squares=self.weight_scale == "mse",
        )

    def embedding_grid(self) -> WeightGrid:
        """The grid of an embedding table; meaningful where `embeddings` isn't float."""
        return WeightGrid(
            self.embeddings == "per_row",
            *weight_levels(self.embedding_bits, self.weight_range == "symmetric_127.5"),
            least_squares=self.weight_scale == "mse",
        )

    @property
    def output_roles(self) -> tuple[Role, ...]:
        """Roles whose outputs are quantized: `quantize_outputs`, and with attention products q, k and v."""
        products = _PRODUCT_ROLES if self.attention_products else ()
        return tuple(role for role in ROLE_NAMES if role in self.quantize_outputs or role in products)

    @property
    def needs_calibration(self) -> bool:
        """Whether activation ranges are found by calibration before any training."""
        return self.activation_range in ("percentile", "mse")


class CalibrationConfig(Settings):
    """The texts that activation ranges are found on, where they aren't found while training."""

    examples: int = Field(default=256, ge=1, description="How many texts, chosen at random.")
    batch_size: int = Field(default=16, ge=1, description="Texts in a batch.")
    source: str | list[str] | None = Field(
        default=None, min_length=1, description="Texts without labels; null: the task's training examples."
    )
