"""Scales and zero points of a quantized model: what its float weights don't tell."""

from dataclasses import dataclass

from torch import Tensor

from pruneofa.quantization.config import QuantizationConfig

__all__ = ["LinearParameters", "QuantizedState"]


@dataclass(frozen=True)
class LinearParameters:
    """The grids of one Linear with R output features.

    Attributes:
        weight_scale: float32 [R] (per channel) or [1] (per tensor); weight = int8 level * scale.
        input_scale: float32 [1]; input = (uint8 level - input_zero_point) * input_scale.
        input_zero_point: uint8 [1].
        output_scale: float32 [1], or None where outputs stay in float.
        output_zero_point: uint8 [1], or None together with `output_scale`.
    """

    weight_scale: Tensor
    input_scale: Tensor
    input_zero_point: Tensor
    output_scale: Tensor | None = None
    output_zero_point: Tensor | None = None


@dataclass(frozen=True)
class QuantizedState:
    """The scheme, and the grids of every quantized module by its dotted name."""

    config: QuantizationConfig
    modules: dict[str, LinearParameters]
