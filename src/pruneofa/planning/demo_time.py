"""How long the demo takes here, from a few matrix products: it depends most on whether the CPU multiplies bfloat16."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from pruneofa.training.config import bfloat16_pays

__all__ = ["DemoTime", "demo_time", "products_per_second"]

_ROWS, _INNER, _COLUMNS = 1024, 384, 1536  # as in the demo's feed-forward layers
_SECONDS = 3.0


@dataclass(frozen=True)
class DemoTime:
    """An estimate.

    Attributes:
        minutes: Of the whole run.
        products_per_second: Multiply-adds a second that were measured, with PyTorch's threads.
        precision: What training computes in here.
    """

    minutes: float
    products_per_second: float
    precision: str


# Minutes that do not shrink with faster products, and minutes times billions of products a second of the rest. A line
# through two runs on 2 cores, 18 minutes (Zen 4, bfloat16) and 45 (AVX2, float32), and twice the products that one such
# core does: 59 and 20 billion a second.
_TIMES = {"demo": (4.0, 1640.0)}


def demo_time(recipe: str, measure: Callable[[bool], float] | None = None) -> DemoTime | None:
    """The estimate for a shipped recipe; None for other recipes, and where a GPU trains.

    Args:
        recipe: Its name.
        measure: Whether in bfloat16 -> products a second; None: `products_per_second`.
    """
    import torch

    if recipe not in _TIMES or torch.cuda.is_available():
        return None
    fixed, scaled = _TIMES[recipe]
    bfloat16 = bfloat16_pays()
    rate = (measure or products_per_second)(bfloat16)
    return DemoTime(fixed + scaled / (rate / 1e9), rate, "bfloat16" if bfloat16 else "float32")


def products_per_second(bfloat16: bool, seconds: float = _SECONDS) -> float:
    """Multiply-adds a second of PyTorch's matrix product, beside whatever else runs on this machine."""
    import torch

    dtype = torch.bfloat16 if bfloat16 else torch.float32
    first, second = torch.ones(_ROWS, _INNER, dtype=dtype), torch.ones(_INNER, _COLUMNS, dtype=dtype)
    torch.mm(first, second)  # the first one sets up
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds or not done:
        torch.mm(first, second)
        done += 1
    return done * _ROWS * _INNER * _COLUMNS / elapsed
