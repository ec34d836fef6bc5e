"""Calibration after training: ranges of activations from a few hundred texts, without labels or training."""

import logging
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from pruneofa.errors import ConfigurationError
from pruneofa.quantization.activations import ActivationQuantizer
from pruneofa.quantization.observer import every_text_counts
from pruneofa.quantization.qat import enable_fake_quantization, quantized_linears, set_observers_frozen

__all__ = ["calibrate"]

logger = logging.getLogger(__name__)


@torch.no_grad()
def calibrate(model: nn.Module, batches: Iterable[Mapping[str, Tensor]]) -> int:
    """Find the ranges of a prepared model's activations; they rest from then on.

    The model computes in float and in eval mode (no dropout) meanwhile, so that no layer's rounding moves the next
    one's range. Memory doesn't grow with the number of batches. Padding is no data, and every text counts alike, so it
    makes no difference how texts are batched; `moving_average` reaches over all that is seen, as `minmax` does.

    Args:
        model: What `prepare_qat` returned.
        batches: Keyword arguments of the model's forward; without labels.

    Returns:
        The number of batches seen.

    Raises:
        ConfigurationError: There is no batch, the model isn't prepared, or part of it is never reached.
    """
    quantizers = {
        f"{name}.{kind}": quantizer
        for name, linear in quantized_linears(model).items()
        for kind, quantizer in linear.activation_quantizers.items()
    }
    modes = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    set_observers_frozen(model, False)
    enable_fake_quantization(model, False)
    model.eval()
    for quantizer in quantizers.values():
        quantizer.train()
    seen = 0
    try:
        with every_text_counts():
            for batch in batches:
                model(**{name: value.to(device) for name, value in batch.items()})
                seen += 1
    finally:
        for module, was_training in modes.items():
            module.training = was_training
        enable_fake_quantization(model, True)
    _check_reached(quantizers, seen)
    set_observers_frozen(model, True)
    logger.info("calibrated %d activation ranges on %d batches", len(quantizers), seen)
    return seen


def _check_reached(quantizers: Mapping[str, ActivationQuantizer], batches: int) -> None:
    if not batches:
        raise ConfigurationError("calibration needs at least one batch; give some texts")
    missed = [name for name, quantizer in quantizers.items() if not quantizer.observer.is_initialized]
    if missed:
        raise ConfigurationError(
            f"calibration never reached {missed[0]!r} ({len(missed)} such) with finite values; put modules that the "
            "forward pass doesn't use into ignore"
        )
