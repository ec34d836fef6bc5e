"""Scales and zero points of a quantized model: what its float weights don't tell."""

from dataclasses import dataclass, field

from torch import Tensor

from pruneofa.quantization.config import QuantizationConfig

__all__ = ["EmbeddingParameters", "LinearParameters", "QuantizedState"]


@dataclass(frozen=True)
class LinearParameters:
    """The grids of one Linear with R output features.

    Attributes:
        weight_scale: float32 [R] (per channel) or [1] (per tensor); weight = int8 level * scale.
        input_scale: float32 [1]; input = (uint8 level - input_zero_point) * input_scale.
        input_zero_point: uint8 [1].
        output_scale: float32 [1], or None where outputs stay in float.
        output_zero_point: uint8 [1], or None together with `output_scale`.
        weight_kept_zeros: int32 [n], row-major indices, ascending, of weights that are part of the sparse pattern
            although their level is 0; None where there are none, or the weight was dense.
    """

    weight_scale: Tensor
    input_scale: Tensor
    input_zero_point: Tensor
    output_scale: Tensor | None = None
    output_zero_point: Tensor | None = None
    weight_kept_zeros: Tensor | None = None

    def pattern(self, weight: Tensor) -> Tensor:
        """Which weights the sparse pattern keeps: bool, in the shape of `weight`."""
        kept = weight.detach() != 0
        if self.weight_kept_zeros is not None:
            kept.view(-1)[self.weight_kept_zeros.to(kept.device).long()] = True
        return kept


@dataclass(frozen=True)
class EmbeddingParameters:
    """The grid of one embedding table with R rows.

    Attributes:
        weight_scale: float32 [R] (per row) or [1] (per table); value = int8 level * scale.
    """

    weight_scale: Tensor


@dataclass(frozen=True)
class QuantizedState:
    """The scheme, and the grids of every quantized Linear and embedding table by its dotted name."""

    config: QuantizationConfig
    modules: dict[str, LinearParameters]
    embeddings: dict[str, EmbeddingParameters] = field(default_factory=dict)
