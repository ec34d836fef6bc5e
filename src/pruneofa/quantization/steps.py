"""Steps of the weights' grids, chosen for rate and accuracy together.

An entropy-coded value costs fewer bits at a coarser step, and a coarser step costs accuracy, in some tensors more than
in others. With D(i, m) the divergence of the model's answers when tensor i alone is rounded at m times its finest step,
and R(i, m) the entropy of its levels, the steps are those that minimise sum D + lambda sum R, each tensor on its own;
lambda is the one at which the values take as many bits as asked. D is measured at one step and taken to grow with m^2,
as the power of uniform noise does; R is counted. A kept weight that rounds to 0 is no value any more and one place less
to tell, so R is less what that saves of the positions, unless the pattern is kept all the same.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pruneofa.errors import ConfigurationError
from pruneofa.quantization.answers import Batch, answers_of, divergence_between
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.grid import WeightGrid
from pruneofa.quantization.weights import fake_quantize_weight, integer_weight, weight_scale

__all__ = ["STEPS", "choose_steps", "position_bits", "step_costs", "value_bits"]

logger = logging.getLogger(__name__)

STEPS = tuple(2.0 ** (k / 4) for k in range(25))
"""Multiples of the finest step that are tried: 1 to 64."""

_PROBE = 8.0
_HALVINGS = 60


@torch.no_grad()
def choose_steps(
    model: nn.Module,
    linears: Mapping[str, nn.Linear],
    config: QuantizationConfig,
    batches: Sequence[Batch],
    bits: float,
    costs: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """A step for each weight, at which the values of all of them take `bits` a kept weight on average.

    Args:
        model: A float task model; it is left as it was.
        linears: The layers to choose for, by dotted name.
        config: Granularity, bits and range of the grids.
        batches: Keyword arguments of the model's forward, for the measured divergence.
        bits: Entropy of the levels, less what positions save, in bits per kept weight.
        costs: What `step_costs` gave, so that several numbers of bits can be tried; None to measure it here.

    Returns:
        Dotted name -> multiple of the finest step, for `QuantizationConfig.weight_steps`.

    Raises:
        ConfigurationError: The finest steps take fewer bits than asked, the coarsest more, or a scale is by least
            squares.
    """
    if config.weight_scale == "mse":
        raise ConfigurationError("value_bits chooses the steps, and so does weight_scale: mse; leave out one of them")
    grid = replace(config.weight_grid(), step=1.0)
    rates = {name: _rates(linear.weight, grid, config.keep_pattern) for name, linear in linears.items()}
    kept = sum(int((linear.weight != 0).sum()) for linear in linears.values())
    finest, coarsest = (sum(float(rate[index]) for rate in rates.values()) / kept for index in (0, -1))
    if not coarsest <= bits <= finest:
        raise ConfigurationError(
            f"value_bits is {bits:g}, but the values of this model take {coarsest:.3f} to {finest:.3f} bits a kept "
            "weight; choose a number between"
        )
    costs = step_costs(model, linears, config, batches) if costs is None else costs
    multiples = torch.tensor(STEPS, dtype=torch.float64)

    def chosen(exchange: float) -> dict[str, int]:
        return {
            name: int((costs[name] * multiples.square() + exchange * rate).argmin()) for name, rate in rates.items()
        }

    # More bits at a smaller lambda; between 1e-30 and 1e10 lies every divergence over every rate.
    low, high = math.log(1e-30), math.log(1e10)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        taken = sum(float(rates[name][index]) for name, index in chosen(math.exp(middle)).items())
        low, high = (middle, high) if taken > bits * kept else (low, middle)
    steps = {name: STEPS[index] for name, index in chosen(math.exp(high)).items()}
    logger.info("chose steps of %.3g to %.3g for %d weights", min(steps.values()), max(steps.values()), len(steps))
    return steps


def value_bits(levels: Tensor) -> float:
    """Entropy of the levels that are not 0, in bits, summed over them; zeros cost positions, not values."""
    counts = torch.bincount(levels.reshape(-1).to(torch.int64) + 128, minlength=256).double()
    counts[128] = 0
    return _entropy(counts)


def position_bits(values: Tensor) -> float:
    """Entropy of where a tensor is not 0, in bits, summed over its elements."""
    return _entropy(torch.bincount((values != 0).reshape(-1).to(torch.int64), minlength=2).double())


def _entropy(counts: Tensor) -> float:
    used = counts[counts > 0]
    return float(-(used * (used / used.sum()).log2()).sum()) if used.numel() else 0.0


def _rates(weight: Tensor, grid: WeightGrid, keep_pattern: bool) -> Tensor:
    """Bits of the values at each of `STEPS`, less what is saved of the positions, float64."""
    finest, before = weight_scale(weight, grid), position_bits(weight)
    rates = []
    for step in STEPS:
        levels = integer_weight(weight, finest * step, grid)
        rates.append(value_bits(levels) - (0.0 if keep_pattern else before - position_bits(levels)))
    return torch.tensor(rates, dtype=torch.float64)


@torch.no_grad()
def step_costs(
    model: nn.Module, linears: Mapping[str, nn.Linear], config: QuantizationConfig, batches: Sequence[Batch]
) -> dict[str, float]:
    """For each weight the divergence that its finest step causes, taken from that of a coarser one.

    Arguments as of `choose_steps`.
    """
    grid = replace(config.weight_grid(), step=1.0)
    was_training = model.training
    model.eval()
    reference = answers_of(model, batches)
    costs = {}
    for name, linear in linears.items():
        before = linear.weight.detach().clone()
        scale = weight_scale(before, grid) * _PROBE
        linear.weight.copy_(fake_quantize_weight(before, scale, grid))
        costs[name] = divergence_between(reference, answers_of(model, batches)) / _PROBE**2
        linear.weight.copy_(before)
    model.train(was_training)
    # A weight that seems to cost nothing costs a little: its divergence is below what so few texts can show.
    least = 1e-3 * sum(costs.values()) / len(costs)
    return {name: max(cost, least, 1e-300) for name, cost in costs.items()}
