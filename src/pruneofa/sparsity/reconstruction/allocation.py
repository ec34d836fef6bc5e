"""How many zeros each layer gets: exactly as many as asked for over all layers together."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pruneofa.sparsity.budget import prune_count

_HIGHEST = 0.98
"""No layer is pruned further than this, or than halfway from the target to everything where that is more."""


@dataclass(frozen=True)
class SensitivityCurve:
    """What pruning a layer alone does to the model's output: `exp(level + slope * sparsity)`.

    Attributes:
        level, slope: of the logarithm of the relative squared error of the last hidden states; slope > 0.
    """

    level: float
    slope: float

    @classmethod
    def through(cls, low: tuple[float, float], high: tuple[float, float]) -> "SensitivityCurve":
        """The curve through two measurements (sparsity, error)."""
        (first, error), (second, larger) = low, high
        logs = [math.log(max(value, 1e-12)) for value in (error, larger)]
        slope = max((logs[1] - logs[0]) / (second - first), 0.1)
        return cls(logs[0] - slope * first, slope)


def uniform_budgets(sizes: Mapping[str, int], sparsity: float) -> dict[str, int]:
    """`floor(s n)` zeros for each layer."""
    return {name: prune_count(sparsity, size) for name, size in sizes.items()}


def budgets_by_sensitivity(
    sizes: Mapping[str, int], curves: Mapping[str, SensitivityCurve], sparsity: float
) -> dict[str, int]:
    """The shares that minimise the sum of the layers' errors, `floor(s N)` zeros in all, exactly.

    At the minimum one more zero costs the same everywhere: `slope exp(level + slope s_i) / n_i` is equal for all layers
    that are within bounds (Lagrange). The multiplier is found by bisection, the zeros are rounded down, and what is
    missing goes to the layers with the largest remainders.

    Args:
        sizes: weights of each layer.
        curves: error of each layer.
        sparsity: over all of them.
    """
    total = prune_count(sparsity, sum(sizes.values()))
    highest = max(_HIGHEST, (1.0 + sparsity) / 2.0)

    def shares(log_price: float) -> dict[str, float]:
        found = {}
        for name, curve in curves.items():
            share = (log_price + math.log(sizes[name] / curve.slope) - curve.level) / curve.slope
            found[name] = min(max(share, 0.0), highest)
        return found

    low, high = -200.0, 200.0
    for _ in range(200):
        middle = (low + high) / 2.0
        zeros = sum(share * sizes[name] for name, share in shares(middle).items())
        low, high = (middle, high) if zeros < total else (low, middle)
    exact = {name: share * sizes[name] for name, share in shares(high).items()}
    budgets = {name: min(math.floor(zeros), sizes[name]) for name, zeros in exact.items()}
    return _rounded_to(total, budgets, exact, sizes)


def _rounded_to(
    total: int, budgets: dict[str, int], exact: Mapping[str, float], sizes: Mapping[str, int]
) -> dict[str, int]:
    """The budgets with what is missing from the total, or too much, spread by the remainders."""
    order = sorted(budgets, key=lambda name: budgets[name] - exact[name])
    missing = total - sum(budgets.values())
    while missing:
        for name in order:
            step = (missing > 0) - (missing < 0)
            if step and 0 <= budgets[name] + step <= sizes[name]:
                budgets[name] += step
                missing -= step
    return budgets
