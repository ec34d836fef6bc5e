"""The Linear of quantization-aware training."""

from typing import cast

import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from pruneofa.quantization.activations import ActivationQuantizer
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.grid import WeightGrid
from pruneofa.quantization.weights import WeightQuantizer

__all__ = ["QATLinear"]


class QATLinear(nn.Linear):
    """A Linear whose input and weight, and output where asked, are fake-quantized.

    Made of an existing Linear by `adopt`, which keeps the module object, its hooks and its Parameter objects:
    optimizers, pruners and state dict names go on working. Quantization runs in float32, also under autocast; the
    product runs as it would in a plain Linear.

    Attributes:
        scheme: The settings.
        quantizes_weight: Whether the weight is fake-quantized now.
        quantizes_activations: Whether input and output are; the observers follow them in both cases.
        kept_zeros: Row-major indices of weights that belong to the sparse pattern though they are 0, as stored; None
            where none are known. A plain Linear of a model that was int8 before may have it too.
    """

    scheme: QuantizationConfig
    input_quantizer: ActivationQuantizer
    weight_quantizer: WeightQuantizer
    output_quantizer: ActivationQuantizer | None
    quantizes_weight: bool
    quantizes_activations: bool
    kept_zeros: Tensor | None

    @classmethod
    def adopt(
        cls, linear: nn.Linear, config: QuantizationConfig, quantize_output: bool, grid: WeightGrid | None = None
    ) -> "QATLinear":
        """Turn `linear` itself into a QATLinear and return it.

        Args:
            linear: A plain Linear.
            config: The settings.
            quantize_output: Whether the output is quantized too.
            grid: The weight's grid, where it isn't `config.weight_grid()`.
        """
        device = linear.weight.device
        kept_zeros = getattr(linear, "kept_zeros", None)
        linear.__class__ = cls
        adopted = cast(QATLinear, linear)
        adopted.scheme = config
        adopted.quantizes_weight = adopted.quantizes_activations = True
        adopted.kept_zeros = kept_zeros
        adopted.input_quantizer = ActivationQuantizer(config, device)
        adopted.weight_quantizer = WeightQuantizer(grid or config.weight_grid())
        adopted.output_quantizer = ActivationQuantizer(config, device) if quantize_output else None
        adopted.train(linear.training)
        return adopted

    def release(self) -> nn.Linear:
        """Turn this module back into a plain `nn.Linear` and return it."""
        for name in ("scheme", "quantizes_weight", "quantizes_activations", "kept_zeros"):
            delattr(self, name)
        for name in ("input_quantizer", "weight_quantizer", "output_quantizer"):
            delattr(self, name)
        self.__class__ = nn.Linear  # type: ignore[assignment]
        return self

    @property
    def activation_quantizers(self) -> dict[str, ActivationQuantizer]:
        """The quantizers of input and, where there is one, output, by `input` and `output`."""
        quantizers = {"input": self.input_quantizer}
        if self.output_quantizer is not None:
            quantizers["output"] = self.output_quantizer
        return quantizers

    def forward(self, input: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]."""
        weight = self.weight_quantizer(self.weight) if self.quantizes_weight else self.weight
        output = F.linear(self._quantized(self.input_quantizer, input), weight, self.bias)
        return output if self.output_quantizer is None else self._quantized(self.output_quantizer, output)

    def _quantized(self, quantizer: ActivationQuantizer, values: Tensor) -> Tensor:
        if self.quantizes_activations:
            return cast(Tensor, quantizer(values))
        quantizer.observe(values)
        return values
