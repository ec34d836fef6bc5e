import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from layer_problems import layer_data, layer_problem
from sparsity_models import weight_bits

from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.reconstruction import least_squares as module
from pruneofa.sparsity.reconstruction.least_squares import least_squares


def random_mask(shape: tuple[int, int], share: float, seed: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) >= share


@pytest.mark.parametrize("entries", [1, 100, 2**20])
@pytest.mark.parametrize("bias", [False, True])
def test_each_row_is_the_solution_on_its_support(bias: bool, entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH_ENTRIES", entries)
    inputs, weight, targets = layer_data(shift=1.5)
    problem = layer_problem(inputs, weight, targets, bias=bias)
    mask = random_mask((6, 10), 0.5, 1)
    mask[2] = False
    solved = least_squares(problem, weight, mask, 1e-12)
    ones = torch.ones(len(inputs), 1, dtype=torch.float64)
    for row in range(6):
        support = mask[row].nonzero()[:, 0]
        columns = torch.cat([inputs[:, support], ones], 1) if bias else inputs[:, support]
        if not columns.shape[1]:
            continue
        best = torch.linalg.lstsq(columns, targets[:, row, None]).solution[:, 0]
        torch.testing.assert_close(solved[row, support], best[: len(support)], rtol=1e-6, atol=1e-8)
        if bias:
            torch.testing.assert_close(problem.bias(solved)[row], best[-1], rtol=1e-6, atol=1e-8)


@given(seed=st.integers(0, 1_000), share=st.floats(0, 1), damping=st.sampled_from([1e-9, 1e-3, 0.1, 10.0]))
def test_the_error_never_rises(seed: int, share: float, damping: float) -> None:
    inputs, weight, targets = layer_data(seed, tokens=30, inputs=7, outputs=3)
    problem = layer_problem(inputs, weight, targets, bias=bool(seed % 2))
    mask = random_mask((3, 7), share, seed)
    before = problem.error(torch.where(mask, weight, 0.0))
    after = problem.error(least_squares(problem, weight, mask, damping))
    assert after <= before * (1 + 1e-9)


def test_what_the_mask_drops_is_positive_zero() -> None:
    inputs, weight, targets = layer_data()
    mask = random_mask((6, 10), 0.7, 2)
    solved = least_squares(layer_problem(inputs, weight, targets), -weight.abs(), mask, 1e-3)
    assert not weight_bits(solved)[~mask].any()


def test_without_zeros_and_with_the_dense_inputs_the_weight_stays() -> None:
    inputs, weight, _ = layer_data()
    problem = layer_problem(inputs, weight, inputs @ weight.T)
    solved = least_squares(problem, weight, torch.ones_like(weight, dtype=torch.bool), 1e-6)
    torch.testing.assert_close(solved, weight)


def test_fewer_tokens_than_inputs_are_solved_with_damping() -> None:
    inputs, weight, targets = layer_data(tokens=4)
    problem = layer_problem(inputs, weight, targets)
    assert not problem.full_rank
    mask = random_mask((6, 10), 0.3, 5)
    solved = least_squares(problem, weight, mask, 0.1)
    assert solved.isfinite().all()
    assert problem.error(solved) <= problem.error(torch.where(mask, weight, 0.0))


def test_equations_without_a_solution_are_refused() -> None:
    inputs, weight, targets = layer_data(tokens=4)
    problem = layer_problem(inputs, weight, targets)
    with pytest.raises(ConfigurationError, match="raise `damping`"):
        least_squares(problem, weight, torch.ones_like(weight, dtype=torch.bool), -0.5)
