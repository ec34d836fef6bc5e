"""The range of an activation, followed over the batches that an observer is shown."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from pruneofa.quantization.config import ACTIVATION_RANGE
from pruneofa.quantization.grid import SMALLEST_SCALE
from pruneofa.quantization.padding import extremes
from pruneofa.ranks import global_extremes

__all__ = ["MinMaxObserver", "MovingAverageObserver", "Observer", "affine_parameters", "every_text_counts"]


def affine_parameters(minimum: Tensor, maximum: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and zero point of the uint8 grid over [min(minimum, 0), max(maximum, 0)]; 0 lies on the grid exactly.

    Args:
        minimum: float32 [1].
        maximum: float32 [1].

    Returns:
        scale, float32 [1], and zero point, int32 [1] within 0..255; 1 and 0 for an empty range.
    """
    lowest, highest = ACTIVATION_RANGE
    low = minimum.clamp(max=0.0)
    high = maximum.clamp(min=0.0)
    scale = (high - low) / (highest - lowest)
    scale = torch.where(scale < SMALLEST_SCALE, torch.ones_like(scale), scale)
    zero_point = (lowest - torch.round(low / scale)).clamp(lowest, highest).to(torch.int32)
    return scale, zero_point


class Observer(nn.Module):
    """Base of the observers: the range so far, whether there is one, whether it rests.

    A batch with a NaN or an infinity is left out, so that one overflow doesn't spoil the range for good. Everything
    that an observer knows is in buffers, so a resumed run goes on bit for bit.

    Buffers: `minimum`, `maximum` float32 [1]; `initialized`, `frozen` bool [1].
    """

    follows = True
    """Whether the range is known after each batch; otherwise only once all have been seen."""

    minimum: Tensor
    maximum: Tensor
    initialized: Tensor
    frozen: Tensor

    def __init__(self, device: torch.device | None = None) -> None:
        super().__init__()
        self.register_buffer("minimum", torch.zeros(1, dtype=torch.float32, device=device))
        self.register_buffer("maximum", torch.zeros(1, dtype=torch.float32, device=device))
        self.register_buffer("initialized", torch.zeros(1, dtype=torch.bool, device=device))
        self.register_buffer("frozen", torch.zeros(1, dtype=torch.bool, device=device))
        # Copies of the two flags: asking a tensor would make an accelerator wait in every forward pass.
        self._is_initialized: bool = False
        self._is_frozen: bool | None = None

    @property
    def is_initialized(self) -> bool:
        """Whether a usable batch was seen."""
        if not self._is_initialized:
            self._is_initialized = bool(self.initialized)
        return self._is_initialized

    @property
    def is_frozen(self) -> bool:
        """Whether the range stays as it is."""
        if self._is_frozen is None:
            self._is_frozen = bool(self.frozen)
        return self._is_frozen

    def set_frozen(self, frozen: bool) -> None:
        """Stop following (True) or follow again (False)."""
        self.frozen.fill_(frozen)
        self._is_frozen = frozen

    def set_range(self, minimum: Tensor, maximum: Tensor) -> None:
        """Take a known range (float32 [1] each) as if it had been observed."""
        self.minimum.copy_(minimum)
        self.maximum.copy_(maximum)
        self.initialized.fill_(True)
        self._is_initialized = True

    def range(self) -> tuple[Tensor, Tensor]:
        """Lower and upper end, float32 [1] each."""
        return self.minimum, self.maximum

    @torch.no_grad()
    def forward(self, values: Tensor) -> None:
        """Take a batch of any shape into account, unless frozen; without what is padding (`padding`)."""
        if self.is_frozen or values.numel() == 0:
            return
        low, high = extremes(values.detach())
        self._follow(*global_extremes(low.float().reshape(1), high.float().reshape(1)))

    def _follow(self, low: Tensor, high: Tensor) -> None:
        usable = torch.isfinite(low) & torch.isfinite(high)
        moved_low, moved_high = self._moved(low, high)
        moved_low = torch.where(self.initialized, moved_low, low)
        moved_high = torch.where(self.initialized, moved_high, high)
        self.minimum.copy_(torch.where(usable, moved_low, self.minimum))
        self.maximum.copy_(torch.where(usable, moved_high, self.maximum))
        self.initialized.logical_or_(usable)

    def _moved(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The new range, of the one so far and a batch's."""
        raise NotImplementedError

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._is_initialized = False
        self._is_frozen = None


_every_text_counts: ContextVar[bool] = ContextVar("every_text_counts", default=False)


@contextmanager
def every_text_counts() -> Iterator[None]:
    """Within the block a range reaches over all that is seen, also that of a moving average.

    For calibration, where a text must count alike wherever it comes, and what a batch is must make no difference.
    """
    token = _every_text_counts.set(True)
    try:
        yield
    finally:
        _every_text_counts.reset(token)


class MovingAverageObserver(Observer):
    """Follows each batch's minimum and maximum: `m += constant * (batch - m)`, starting at the first batch.

    Within `every_text_counts` it follows the smallest and the largest value.
    """

    def __init__(self, averaging_constant: float, device: torch.device | None = None) -> None:
        super().__init__(device)
        self.averaging_constant = averaging_constant

    def _moved(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        if _every_text_counts.get():
            return torch.minimum(self.minimum, low), torch.maximum(self.maximum, high)
        constant = self.averaging_constant
        return self.minimum + constant * (low - self.minimum), self.maximum + constant * (high - self.maximum)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"averaging_constant={self.averaging_constant}"


class MinMaxObserver(Observer):
    """The smallest and the largest value of all batches."""

    def _moved(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        return torch.minimum(self.minimum, low), torch.maximum(self.maximum, high)
