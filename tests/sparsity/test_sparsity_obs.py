"""Optimal Brain Surgeon against brute force in float64."""

import pytest
import torch
from layer_problems import layer_data, layer_problem
from sparsity_models import weight_bits

from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.reconstruction.obs import prune_by_obs, remove_one


@pytest.mark.parametrize("index", range(4))
def test_removing_one_weight_is_the_constrained_optimum(index: int) -> None:
    inputs, _, targets = layer_data(inputs=4)
    hessian, wanted = inputs.T @ inputs, targets[:, 0]
    optimum = torch.linalg.solve(hessian, inputs.T @ wanted)
    others = [column for column in range(4) if column != index]
    best = torch.zeros(4, dtype=torch.float64)
    best[others] = torch.linalg.lstsq(inputs[:, others], wanted[:, None]).solution[:, 0]
    inverse = torch.linalg.inv(hessian)
    removed = remove_one(optimum, inverse, index)
    torch.testing.assert_close(removed, best)
    grown = (inputs @ removed - wanted).square().sum() - (inputs @ optimum - wanted).square().sum()
    torch.testing.assert_close(grown, optimum[index].square() / inverse[index, index])


def test_the_first_column_alone_is_removed_as_obs_says() -> None:
    inputs, weight, targets = layer_data(inputs=5, outputs=3)
    problem = layer_problem(inputs, weight, targets)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[:, 0] = False
    pruned, _ = prune_by_obs(problem, 3, 1e-12, mask)
    inverse = torch.linalg.inv(problem.hessian)
    expected = torch.stack([remove_one(row, inverse, 0) for row in problem.dense_optimum(1e-12)])
    torch.testing.assert_close(pruned, expected, rtol=1e-6, atol=1e-6)


def test_each_column_is_made_up_for_by_those_to_its_right() -> None:
    """The loop of the definition: remove, update, and take the column's row and column out of the inverse."""
    inputs, weight, targets = layer_data(inputs=9, outputs=4)
    problem = layer_problem(inputs, weight, targets)
    mask = torch.rand(4, 9, generator=torch.Generator().manual_seed(3)) > 0.5
    rows = problem.dense_optimum(0.01)
    for column in range(9):
        inverse = torch.zeros(9, 9, dtype=torch.float64)
        inverse[column:, column:] = torch.linalg.inv(problem.damped(0.01)[column:, column:])
        for row in range(4):
            if not mask[row, column]:
                rows[row] = remove_one(rows[row], inverse, column)
    pruned, kept = prune_by_obs(problem, int((~mask).sum()), 0.01, mask)
    assert torch.equal(kept, mask)
    torch.testing.assert_close(pruned, torch.where(mask, rows, 0.0))


@pytest.mark.parametrize("count", [0, 1, 77, 899, 900])
def test_exactly_as_many_go_as_asked(count: int) -> None:
    inputs, weight, targets = layer_data(inputs=300, outputs=3, tokens=400)
    pruned, mask = prune_by_obs(layer_problem(inputs, weight, targets), count, 0.01)
    assert int((~mask).sum()) == count
    assert not weight_bits(pruned)[~mask].any()
    assert pruned[mask].ne(0).all()


def test_it_beats_magnitude() -> None:
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(1_000, 1, dtype=torch.float64, generator=generator)
    inputs = common + torch.randn(1_000, 40, dtype=torch.float64, generator=generator)
    weight = torch.randn(20, 40, dtype=torch.float64, generator=generator)
    problem = layer_problem(inputs, weight, inputs @ weight.T)
    pruned, _ = prune_by_obs(problem, 400, 1e-4)
    largest = torch.where(weight.abs() > weight.abs().flatten().kthvalue(400).values, weight, 0.0)
    assert problem.error(pruned) < 0.8 * problem.error(largest)


@pytest.mark.parametrize("count", [-1, 61])
def test_a_count_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{count} weights are to go; allowed: 0 to 60"):
        prune_by_obs(layer_problem(*layer_data()), count, 0.01)
