"""The integer grid of a weight: its levels, and how its step is chosen."""

from dataclasses import dataclass

__all__ = ["SMALLEST_SCALE", "WeightGrid", "weight_levels"]

SMALLEST_SCALE = 2.0**-60
"""A range that would give a smaller scale counts as zero, and its scale is 1: the product of two scales then stays
far from the denormal numbers of float32."""


@dataclass(frozen=True)
class WeightGrid:
    """How a weight or an embedding table is put on integers.

    Attributes:
        per_row: One scale per row, else one for all.
        lowest: Lowest level, at least -128.
        highest: Highest level, at most 127.
        divisor: The scale is absmax / divisor * step.
        step: Multiple of the finest step; above 1 fewer levels are used, and the file gets smaller.
        least_squares: Whether the scale is instead the one, among shares of absmax / divisor, with the smallest squared
            error.
    """

    per_row: bool
    lowest: int
    highest: int
    divisor: float
    step: float = 1.0
    least_squares: bool = False


def weight_levels(bits: int, full_range: bool) -> tuple[int, int, float]:
    """Lowest level, highest level and divisor of a symmetric grid.

    Args:
        bits: 2 to 8.
        full_range: Also use the level -2^(bits-1); the divisor then lies halfway (127.5 for 8 bits), as the authors'.
    """
    half = 1 << (bits - 1)
    return (-half, half - 1, half - 0.5) if full_range else (1 - half, half - 1, half - 1.0)
