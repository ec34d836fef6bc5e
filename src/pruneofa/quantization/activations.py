"""The quantizer of an activation: an observer's range, and the uint8 grid over it."""

import torch
from torch import Tensor, nn

from pruneofa.quantization.config import ACTIVATION_RANGE, QuantizationConfig
from pruneofa.quantization.fake import fake_quantize
from pruneofa.quantization.histogram import HistogramObserver
from pruneofa.quantization.observer import MinMaxObserver, MovingAverageObserver, Observer, affine_parameters

__all__ = ["ActivationQuantizer", "make_observer"]


def make_observer(config: QuantizationConfig, device: torch.device | None = None) -> Observer:
    """The observer that `config.activation_range` names."""
    if config.activation_range == "moving_average":
        return MovingAverageObserver(config.activation_averaging_constant, device)
    if config.activation_range == "minmax":
        return MinMaxObserver(device)
    return HistogramObserver(config.activation_percentile if config.activation_range == "percentile" else None, device)


def _is_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


class ActivationQuantizer(nn.Module):
    """Puts activations on a uint8 grid whose range an observer finds.

    Until there is a range, values pass through as they are: until the first batch or, where the range is found from
    all batches together (percentile, least squares), until `set_frozen(True)`. In eval mode nothing moves.

    Buffers: `scale` float32 [1], `zero_point` int32 [1]: kept beside the observer's range, so that a stored pair holds
    bit for bit.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, config: QuantizationConfig, device: torch.device | None = None) -> None:
        super().__init__()
        self.observer = make_observer(config, device)
        self.register_buffer("scale", torch.ones(1, dtype=torch.float32, device=device))
        self.register_buffer("zero_point", torch.zeros(1, dtype=torch.int32, device=device))

    @property
    def has_grid(self) -> bool:
        """Whether values are quantized, not passed through."""
        return self.observer.is_initialized and (self.observer.follows or self.observer.is_frozen)

    def fix_parameters(self, scale: Tensor, zero_point: Tensor) -> None:
        """Use this pair from now on: observer frozen, on the range that the pair covers."""
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)
        lowest, highest = ACTIVATION_RANGE
        self.observer.set_range((lowest - self.zero_point) * self.scale, (highest - self.zero_point) * self.scale)
        self.observer.set_frozen(True)

    def set_frozen(self, frozen: bool) -> None:
        """Let the range rest (True), on the range found so far, or follow the data again in training mode (False)."""
        if frozen and not self.observer.is_frozen and self.observer.is_initialized and not self.observer.follows:
            self._take_range()
        self.observer.set_frozen(frozen)

    def observe(self, values: Tensor) -> None:
        """Let the range follow `values` (any shape), if in training mode and not frozen; padding is left out.

        What gradient checkpointing computes once more during the backward pass was seen before.
        """
        if self.training and not self.observer.is_frozen and not _is_backward():
            self.observer(values)
            if self.observer.follows:
                self._take_range()

    @torch.no_grad()
    def _take_range(self) -> None:
        scale, zero_point = affine_parameters(*self.observer.range())
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)

    def forward(self, values: Tensor) -> Tensor:
        """Observe, then fake-quantize `values` (any shape), in their own dtype; computed in float32."""
        self.observe(values)
        if not self.has_grid:
            return values
        quantized = fake_quantize(values.float(), self.scale, self.zero_point, *ACTIVATION_RANGE)
        return quantized.to(values.dtype)
