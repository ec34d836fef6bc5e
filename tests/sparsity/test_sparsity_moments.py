import pytest
import torch
from layer_problems import layer_data, layer_problem

from pruneofa.errors import DataError
from pruneofa.sparsity.reconstruction import moments
from pruneofa.sparsity.reconstruction.moments import InputMoments


def test_the_sums_are_those_of_the_whole_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "_CHUNK", 7)
    inputs, weight, targets = layer_data(shift=1.0)
    problem = layer_problem(inputs, weight, targets)
    torch.testing.assert_close(problem.hessian, inputs.T @ inputs)
    torch.testing.assert_close(problem.cross, inputs.T @ targets)
    torch.testing.assert_close(problem.energy, targets.square().sum(0))
    assert problem.tokens == len(inputs)


@pytest.mark.parametrize("bias", [False, True])
def test_the_error_is_that_of_the_outputs(bias: bool) -> None:
    inputs, weight, targets = layer_data(shift=2.0)
    problem = layer_problem(inputs, weight, targets, bias=bias)
    other = 0.9 * weight
    outputs = inputs @ other.T + problem.bias(other)
    assert problem.error(other) == pytest.approx(float((targets - outputs).square().sum()), rel=1e-9)


def test_the_bias_is_the_best_one() -> None:
    inputs, weight, targets = layer_data(shift=2.0)
    problem = layer_problem(inputs, weight, targets, bias=True)
    residual = targets - inputs @ (0.9 * weight).T
    torch.testing.assert_close(problem.bias(0.9 * weight), residual.mean(0))


def test_float32_inputs_are_summed_in_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(20_000, 3, generator=generator) + 100.0
    targets = torch.randn(20_000, 2, generator=generator)
    problem = layer_problem(inputs, torch.zeros(2, 3), targets, bias=True)
    centred = inputs.double() - inputs.double().mean(0)
    torch.testing.assert_close(problem.hessian, centred.T @ centred, rtol=0, atol=0.1)  # 2e8 before centring
    assert problem.hessian.dtype == torch.float64


def test_no_tokens_or_infinite_ones_are_refused() -> None:
    empty = InputMoments(3, {"layer": 2})
    with pytest.raises(DataError, match="no token reached 'layer'"):
        empty.problem("layer", torch.ones(2, 3), bias=True)
    inputs, weight, targets = layer_data()
    inputs[5, 1] = float("inf")
    with pytest.raises(DataError, match="not finite"):
        layer_problem(inputs, weight, targets)
