"""The Linear of quantization-aware training."""

from typing import cast

import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.fake import ActivationQuantizer, WeightQuantizer

__all__ = ["QATLinear"]


class QATLinear(nn.Linear):
    """A Linear whose input and weight, and output where asked, are fake-quantized.

    Made of an existing Linear by `adopt`, which keeps the module object, its hooks and its Parameter objects:
    optimizers, pruners and state dict names go on working. Quantization runs in float32, also under autocast; the
    product runs as it would in a plain Linear.
    """

    scheme: QuantizationConfig
    input_quantizer: ActivationQuantizer
    weight_quantizer: WeightQuantizer
    output_quantizer: ActivationQuantizer | None
    fake_quantization: bool

    @classmethod
    def adopt(cls, linear: nn.Linear, config: QuantizationConfig, quantize_output: bool) -> "QATLinear":
        """Turn `linear` itself into a QATLinear and return it."""
        device = linear.weight.device
        linear.__class__ = cls
        adopted = cast(QATLinear, linear)
        adopted.scheme = config
        adopted.fake_quantization = True
        adopted.input_quantizer = ActivationQuantizer(config, device)
        adopted.weight_quantizer = WeightQuantizer(config)
        adopted.output_quantizer = ActivationQuantizer(config, device) if quantize_output else None
        adopted.train(linear.training)
        return adopted

    def release(self) -> nn.Linear:
        """Turn this module back into a plain `nn.Linear` and return it."""
        for name in ("scheme", "fake_quantization", "input_quantizer", "weight_quantizer", "output_quantizer"):
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
        if not self.fake_quantization:
            self.input_quantizer.observe(input)
            output = F.linear(input, self.weight, self.bias)
            if self.output_quantizer is not None:
                self.output_quantizer.observe(output)
            return output
        output = F.linear(self.input_quantizer(input), self.weight_quantizer(self.weight), self.bias)
        return output if self.output_quantizer is None else self.output_quantizer(output)
