"""Small least-squares problems that the tests of reconstruction share."""

import torch
from torch import Tensor

from pruneofa.sparsity.reconstruction.moments import InputMoments
from pruneofa.sparsity.reconstruction.problem import LayerProblem


def layer_data(
    seed: int = 0, *, tokens: int = 200, inputs: int = 10, outputs: int = 6, shift: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Correlated inputs X, dense weight W, and targets Y of other inputs (X as the dense model has it); float64."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(inputs, inputs, dtype=torch.float64, generator=generator)
    dense = torch.randn(tokens, inputs, dtype=torch.float64, generator=generator) @ mix + shift
    weight = torch.randn(outputs, inputs, dtype=torch.float64, generator=generator)
    pruned = dense + 0.1 * torch.randn(tokens, inputs, dtype=torch.float64, generator=generator)
    return pruned, weight, dense @ weight.T + shift


def layer_problem(inputs: Tensor, weight: Tensor, targets: Tensor, *, bias: bool = False) -> LayerProblem:
    """The problem that the sums over these tokens make."""
    moments = InputMoments(inputs.shape[1], {"layer": targets.shape[1]})
    moments.add(inputs, {"layer": targets})
    return moments.problem("layer", weight, bias=bias)
