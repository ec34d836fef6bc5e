import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pruneofa.quantization.observer import MovingAverageObserver, affine_parameters

FLOATS = st.floats(-1e6, 1e6, width=32)


def test_moving_average_follows_the_formula_from_the_first_batch() -> None:
    observer = MovingAverageObserver(0.25)
    assert not observer.is_initialized
    observer(torch.tensor([[-1.0, 3.0]]))
    assert (observer.minimum.item(), observer.maximum.item()) == (-1.0, 3.0)
    observer(torch.tensor([-2.0, 1.0, 7.0]))
    assert (observer.minimum.item(), observer.maximum.item()) == (-1.25, 4.0)
    assert observer.is_initialized


def test_parity_with_torchs_own_observer() -> None:
    from torch.ao.quantization import MovingAverageMinMaxObserver

    torch.manual_seed(0)
    ours, theirs = MovingAverageObserver(0.01), MovingAverageMinMaxObserver(averaging_constant=0.01, dtype=torch.quint8)
    for _ in range(5):
        batch = torch.randn(4, 8) * 3 + 1
        ours(batch)
        theirs(batch)
    scale, zero_point = affine_parameters(ours.minimum, ours.maximum)
    expected_scale, expected_zero_point = theirs.calculate_qparams()
    assert torch.equal(scale, expected_scale)
    assert torch.equal(zero_point, expected_zero_point.to(torch.int32))


@given(low=FLOATS, width=st.floats(0, 1e6, width=32))
def test_zero_is_on_the_grid_and_the_range_is_covered(low: float, width: float) -> None:
    high = float(np.float32(low) + np.float32(width))
    scale, zero_point = affine_parameters(torch.tensor([low]), torch.tensor([high]))
    assert scale.dtype == torch.float32 and zero_point.dtype == torch.int32
    assert scale.item() > 0 and 0 <= zero_point.item() <= 255
    reach_low, reach_high = (0 - zero_point.item()) * scale.item(), (255 - zero_point.item()) * scale.item()
    slack = 0.51 * scale.item()  # the zero point is rounded to a level: each end moves by at most half a step
    assert reach_low <= min(low, 0) + slack and reach_high >= max(high, 0) - slack


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0, 1e-30])
def test_constant_input_gives_a_sane_scale(value: float) -> None:
    observer = MovingAverageObserver(0.01)
    observer(torch.full((3, 3), value))
    scale, zero_point = affine_parameters(observer.minimum, observer.maximum)
    expected = {0.0: (1.0, 0), 5.0: (5 / 255, 0), -5.0: (5 / 255, 255), 1e-30: (1.0, 0)}[value]
    assert scale.item() == pytest.approx(expected[0])
    assert zero_point.item() == expected[1]


def test_frozen_observer_does_not_move() -> None:
    observer = MovingAverageObserver(0.5)
    observer(torch.tensor([-1.0, 1.0]))
    observer.set_frozen(True)
    observer(torch.tensor([-9.0, 9.0]))
    assert (observer.minimum.item(), observer.maximum.item()) == (-1.0, 1.0)
    observer.set_frozen(False)
    observer(torch.tensor([-3.0, 3.0]))
    assert (observer.minimum.item(), observer.maximum.item()) == (-2.0, 2.0)


def test_values_that_are_not_finite_and_empty_batches_are_left_out() -> None:
    observer = MovingAverageObserver(0.5)
    for bad in (float("nan"), float("inf")):
        observer(torch.tensor([bad, 1.0]))
    observer(torch.empty(0, 4))
    assert not observer.is_initialized
    observer(torch.tensor([2.0, 4.0]))
    observer(torch.tensor([float("-inf"), 100.0]))
    assert (observer.minimum.item(), observer.maximum.item()) == (2.0, 4.0)


def test_resumed_observer_goes_on_bit_for_bit() -> None:
    torch.manual_seed(0)
    batches = [torch.randn(16) for _ in range(6)]
    straight = MovingAverageObserver(0.01)
    for batch in batches:
        straight(batch)
    first = MovingAverageObserver(0.01)
    for batch in batches[:3]:
        first(batch)
    first.set_frozen(True)
    resumed = MovingAverageObserver(0.01)
    assert not resumed.is_initialized and not resumed.is_frozen
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    assert resumed.is_initialized and resumed.is_frozen
    resumed.set_frozen(False)
    for batch in batches[3:]:
        resumed(batch)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_bfloat16_batches_are_followed_in_float32() -> None:
    observer = MovingAverageObserver(0.01)
    observer(torch.tensor([-1.0, 1.0], dtype=torch.bfloat16))
    observer(torch.tensor([-1.5, 1.5], dtype=torch.bfloat16))
    assert observer.maximum.dtype == torch.float32
    assert observer.maximum.item() == pytest.approx(1.005, abs=1e-7)
