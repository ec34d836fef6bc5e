import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruneofa.sparsity.budget import prune_count
from pruneofa.sparsity.reconstruction.allocation import SensitivityCurve, budgets_by_sensitivity, uniform_budgets

_CURVE = st.builds(SensitivityCurve, level=st.floats(-25, 0), slope=st.floats(0.1, 12))


@given(layers=st.lists(st.tuples(st.integers(1, 5_000), _CURVE), min_size=1, max_size=12), percent=st.integers(0, 99))
def test_the_total_is_exact_and_every_layer_within_bounds(
    layers: list[tuple[int, SensitivityCurve]], percent: int
) -> None:
    sizes = {str(number): size for number, (size, _) in enumerate(layers)}
    budgets = budgets_by_sensitivity(sizes, {str(n): curve for n, (_, curve) in enumerate(layers)}, percent / 100)
    assert sum(budgets.values()) == prune_count(percent / 100, sum(sizes.values()))
    assert all(0 <= budgets[name] <= size for name, size in sizes.items())


def test_one_more_zero_costs_the_same_everywhere() -> None:
    sizes = {"a": 100_000, "b": 400_000, "c": 100_000}
    curves = {"a": SensitivityCurve(-8, 5), "b": SensitivityCurve(-7, 4), "c": SensitivityCurve(-6, 6)}
    budgets = budgets_by_sensitivity(sizes, curves, 0.6)
    prices = [
        curve.slope * math.exp(curve.level + curve.slope * budgets[name] / sizes[name]) / sizes[name]
        for name, curve in curves.items()
    ]
    assert max(prices) == pytest.approx(min(prices), rel=1e-3)
    assert budgets["c"] < budgets["a"]


def test_equal_layers_get_equal_shares() -> None:
    curve = SensitivityCurve(-5, 4)
    assert budgets_by_sensitivity({"a": 1_000, "b": 1_000}, {"a": curve, "b": curve}, 0.35) == {"a": 350, "b": 350}


def test_a_curve_goes_through_its_two_points() -> None:
    curve = SensitivityCurve.through((0.4, 0.01), (0.7, 0.05))
    for sparsity, error in ((0.4, 0.01), (0.7, 0.05)):
        assert math.exp(curve.level + curve.slope * sparsity) == pytest.approx(error)


def test_uniform_is_the_floor_for_each() -> None:
    assert uniform_budgets({"a": 10, "b": 100}, 0.29) == {"a": 2, "b": 29}
