import itertools

import pytest
import torch
from layer_problems import layer_data, layer_problem

from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.reconstruction.admm import admm_mask
from pruneofa.sparsity.reconstruction.least_squares import least_squares


@pytest.mark.parametrize("iterations", [1, 3, 40])
@pytest.mark.parametrize("count", [0, 1, 29, 59, 60])
def test_the_mask_has_exactly_the_budget(count: int, iterations: int) -> None:
    mask = admm_mask(layer_problem(*layer_data()), count, iterations=iterations)
    assert mask.shape == (6, 10)
    assert int((~mask).sum()) == count


def test_it_finds_the_best_support_of_a_small_row() -> None:
    found = 0
    for seed in range(20):
        problem = layer_problem(*layer_data(seed, inputs=6, outputs=1, tokens=400))
        errors = {}
        for kept in itertools.combinations(range(6), 3):
            mask = torch.zeros(1, 6, dtype=torch.bool)
            mask[0, list(kept)] = True
            errors[kept] = problem.error(least_squares(problem, problem.weight, mask, 1e-9))
        mask = admm_mask(problem, 3, iterations=100, damping=1e-6)
        found += tuple(mask[0].nonzero()[:, 0].tolist()) == min(errors, key=lambda kept: errors[kept])
    assert found >= 12  # of 20 supports each; magnitude finds 3


def test_with_independent_inputs_it_is_magnitude_times_input_norm() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.linalg.qr(torch.randn(50, 8, dtype=torch.float64, generator=generator)).Q
    inputs = inputs * torch.linspace(0.1, 3.0, 8)
    weight = torch.randn(5, 8, dtype=torch.float64, generator=generator)
    mask = admm_mask(layer_problem(inputs, weight, inputs @ weight.T), 17)
    saliency = weight.abs() * inputs.norm(dim=0)
    assert torch.equal(mask, saliency > saliency.flatten().kthvalue(17).values)


def test_an_input_that_is_always_zero_goes_first() -> None:
    inputs, weight, targets = layer_data()
    inputs[:, 4] = 0.0
    mask = admm_mask(layer_problem(inputs, weight, targets), 6)
    assert not mask[:, 4].any()


def test_a_count_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="61 weights are to go"):
        admm_mask(layer_problem(*layer_data()), 61)
