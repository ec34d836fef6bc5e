"""Ranges of activations by the distribution of all values seen: a histogram of fixed size.

The bins are as wide as a power of two and begin at zero, so that a wider range only merges neighbours: nothing is
interpolated, and the order of the batches makes no difference.
"""

import math

import torch
from torch import Tensor

from pruneofa.quantization.config import ACTIVATION_RANGE
from pruneofa.quantization.observer import Observer
from pruneofa.quantization.padding import present_values

__all__ = ["BINS", "HistogramObserver", "least_squares_range", "percentile_range"]

BINS = 8192
"""Bins of a histogram, half of them below zero. The largest magnitude reaches beyond the half of its side, so a step of
a grid that covers it is at least 8 bins wide."""

_HALF = BINS // 2
_SMALLEST_EXPONENT = -80
_CHUNK = 1 << 20
# Candidate ends are shares of the observed ones: from 1 down to 1/64, sixteen to each halving.
_SHARES = 2.0 ** (-torch.arange(97, dtype=torch.float64) / 16)


class HistogramObserver(Observer):
    """Counts values in bins until it is asked for a range: by percentile, or by the smallest squared error.

    Buffers, beside those of `Observer` (whose range is the smallest and largest value): `counts` int64 [BINS]; bin i
    holds values from (i - BINS/2) * width to below (i + 1 - BINS/2) * width; `exponent` int32 [1]: width = 2^exponent.

    Args:
        percentile: Share of the values, in percent, that lie below the upper end, and above the lower end; None: the
            range with the smallest squared error.
    """

    follows = False
    counts: Tensor
    exponent: Tensor

    def __init__(self, percentile: float | None, device: torch.device | None = None) -> None:
        super().__init__(device)
        self.percentile = percentile
        self.register_buffer("counts", torch.zeros(BINS, dtype=torch.int64, device=device))
        self.register_buffer("exponent", torch.full((1,), _SMALLEST_EXPONENT, dtype=torch.int32, device=device))

    @torch.no_grad()
    def forward(self, values: Tensor) -> None:
        """Take a batch of any shape into account, unless frozen; without what is padding (`padding`)."""
        if self.is_frozen:
            return
        flat = present_values(values.detach()).float()
        if flat.numel() == 0:
            return
        bounds = torch.aminmax(flat)
        low, high = float(bounds.min), float(bounds.max)
        if not (math.isfinite(low) and math.isfinite(high)):
            return
        self._widen(max(-low, high))
        width = int(self.exponent)
        for chunk in torch.split(flat, _CHUNK):
            bins = torch.floor(torch.ldexp(chunk, torch.tensor(-width))).to(torch.int64) + _HALF
            self.counts += torch.bincount(bins, minlength=BINS)
        self._follow(bounds.min.reshape(1), bounds.max.reshape(1))

    def _moved(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        return torch.minimum(self.minimum, low), torch.maximum(self.maximum, high)

    def _widen(self, magnitude: float) -> None:
        """Merge neighbouring bins until values of this magnitude fit."""
        needed = (
            math.frexp(magnitude / _HALF)[1] if magnitude > 0 else _SMALLEST_EXPONENT
        )  # magnitude < _HALF * 2^needed
        shift = needed - int(self.exponent)
        if shift <= 0:
            return
        bins = torch.arange(BINS, device=self.counts.device) - _HALF
        merged = torch.zeros_like(self.counts)
        merged.index_add_(0, (bins >> min(shift, 62)) + _HALF, self.counts)
        self.counts.copy_(merged)
        self.exponent.fill_(needed)

    def range(self) -> tuple[Tensor, Tensor]:
        """Lower and upper end, float32 [1] each, by what the observer was made for; within what was seen."""
        counts = self.counts.cpu()
        used = torch.nonzero(counts).reshape(-1)
        width = 2.0 ** int(self.exponent)
        edges = (used - _HALF).double() * width
        low, high = float(self.minimum), float(self.maximum)
        if self.percentile is None:
            low, high = least_squares_range(edges + width / 2, counts[used].double(), min(low, 0.0), max(high, 0.0))
        else:
            below, above = percentile_range(counts[used], self.percentile)
            low, high = max(low, float(edges[below])), min(high, float(edges[above]) + width)
        as_tensor = self.minimum.new_tensor
        return as_tensor([low]), as_tensor([high])

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return "least squares" if self.percentile is None else f"percentile={self.percentile}"


def percentile_range(counts: Tensor, percentile: float) -> tuple[int, int]:
    """The first and the last bin of the range that leaves `100 - percentile` % of the values out at each end.

    Args:
        counts: int64 [n], at least one value in all.
        percentile: Above 50, at most 100.
    """
    total = int(counts.sum())
    outside = math.floor(round(total * (100.0 - percentile) / 100.0, 6))  # 100 - 99.9 is a little below 0.1
    running = torch.cumsum(counts, 0)
    first = int(torch.searchsorted(running, outside, right=True))
    last = int(torch.searchsorted(running, total - outside))
    return first, max(first, last)


def least_squares_range(values: Tensor, counts: Tensor, low: float, high: float) -> tuple[float, float]:
    """The range whose uint8 grid gives the smallest sum of squared errors, clipping counted.

    Either end in turn is chosen among shares of the observed one, twice.

    Args:
        values: float64 [n].
        counts: float64 [n], how often each occurs.
        low: Lower end of what was observed, at most 0.
        high: Upper end, at least 0.
    """
    best_low, best_high = low, high
    for _ in range(2):
        best_high = _best_end(values, counts, torch.full_like(_SHARES, best_low), _SHARES * high)[1]
        best_low = _best_end(values, counts, _SHARES * low, torch.full_like(_SHARES, best_high))[0]
    return best_low, best_high


def _best_end(values: Tensor, counts: Tensor, low: Tensor, high: Tensor) -> tuple[float, float]:
    lowest, highest = ACTIVATION_RANGE
    scale = ((high - low) / (highest - lowest)).clamp(min=1e-300)[:, None]
    zero_point = torch.round(-low[:, None] / scale)
    levels = (torch.round(values / scale) + zero_point).clamp(lowest, highest)
    errors = (((levels - zero_point) * scale - values).square() * counts).sum(dim=1)
    best = int(errors.argmin())
    return float(low[best]), float(high[best])
