import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pruneofa.quantization.activations import ActivationQuantizer, make_observer
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.fake import fake_quantize
from pruneofa.quantization.histogram import _SMALLEST_EXPONENT, BINS, HistogramObserver, percentile_range
from pruneofa.quantization.observer import MinMaxObserver, affine_parameters

ARRAYS = hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e4, 1e4, width=32))


@settings(max_examples=60, deadline=None)
@given(batches=st.lists(ARRAYS, min_size=1, max_size=4))
def test_bins_hold_what_they_say_in_any_order(batches: list[np.ndarray]) -> None:
    observer, other = HistogramObserver(99.0), HistogramObserver(99.0)
    for batch in batches:
        observer(torch.from_numpy(batch.copy()))
    for batch in reversed(batches):
        other(torch.from_numpy(batch.copy()))
    values = np.concatenate(batches)
    width = 2.0 ** int(observer.exponent)
    expected = np.bincount(np.floor(values / width).astype(int) + BINS // 2, minlength=BINS)
    assert torch.equal(observer.counts, torch.from_numpy(expected))
    assert torch.equal(observer.counts, other.counts) and torch.equal(observer.exponent, other.exponent)
    assert (observer.minimum.item(), observer.maximum.item()) == (values.min(), values.max())
    largest = np.abs(values).max()
    assert largest < BINS / 2 * width
    if width > 2.0**_SMALLEST_EXPONENT:  # bins are never narrower: values near 0 alone may fill few of them
        assert largest >= BINS / 4 * width  # no more than half of a side is unused


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9, 100.0])
def test_percentile_is_that_of_the_values_to_one_bin(percentile: float) -> None:
    torch.manual_seed(0)
    values = torch.randn(20_000)
    observer = HistogramObserver(percentile)
    for chunk in values.split(3_000):
        observer(chunk)
    low, high = (end.item() for end in observer.range())
    width = 2.0 ** int(observer.exponent)
    in_order, outside = values.sort().values, round(200 * (100 - percentile))
    assert low <= in_order[outside] <= low + width and high - width <= in_order[-1 - outside] <= high
    if percentile == 100.0:
        assert (low, high) == (values.min().item(), values.max().item())


def test_percentile_range_counts_from_both_ends() -> None:
    counts = torch.tensor([1, 3, 0, 90, 4, 2])
    assert percentile_range(counts, 100.0) == (0, 5)
    assert percentile_range(counts, 99.0) == (1, 5)  # one of a hundred is left out at each end
    assert percentile_range(counts, 98.0) == (1, 4)
    assert percentile_range(counts, 96.0) == (3, 4)
    assert percentile_range(torch.tensor([5]), 60.0) == (0, 0)


def test_least_squares_leaves_out_a_lone_outlier_and_beats_the_whole_range() -> None:
    torch.manual_seed(0)
    values = torch.cat([torch.randn(50_000), torch.tensor([300.0])])
    observer = HistogramObserver(None)
    observer(values)
    low, high = observer.range()
    assert -5 < low.item() < -2 and 2 < high.item() < 300

    def error(low: torch.Tensor, high: torch.Tensor) -> float:
        return (fake_quantize(values, *affine_parameters(low, high), 0, 255) - values).square().sum().item()

    whole = error(values.min().reshape(1), values.max().reshape(1))
    assert error(low, high) < whole
    assert error(low, high) < 1.02 * min(
        error(torch.tensor([-a]), torch.tensor([b]))
        for a in (2.5, 3.0, 3.5, 4.0)
        for b in (4.0, 50, 150, 200, 250, 290)
    )


@pytest.mark.parametrize("percentile", [99.9, None])
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-30])
def test_constant_inputs_give_a_sane_grid(percentile: float | None, value: float) -> None:
    observer = HistogramObserver(percentile)
    observer(torch.full((7,), value))
    scale, zero_point = affine_parameters(*observer.range())
    assert torch.isfinite(scale).all() and scale.item() > 0 and 0 <= zero_point.item() <= 255
    rounded = fake_quantize(torch.full((1,), value), scale, zero_point, 0, 255).item()
    assert rounded == pytest.approx(value, rel=0.01, abs=1e-20)


def test_values_that_are_not_finite_are_left_out() -> None:
    observer = HistogramObserver(100.0)
    observer(torch.tensor([1.0, float("inf")]))
    observer(torch.tensor([float("nan")]))
    assert not observer.is_initialized and observer.counts.sum() == 0
    observer(torch.tensor([1.0, -1.0]))
    assert observer.is_initialized and observer.counts.sum() == 2


def test_a_stored_histogram_goes_on() -> None:
    torch.manual_seed(0)
    first, straight = HistogramObserver(99.0), HistogramObserver(99.0)
    batches = [torch.randn(500) * scale for scale in (1, 5, 0.1)]
    for batch in batches:
        straight(batch)
    first(batches[0])
    resumed = HistogramObserver(99.0)
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    for batch in batches[1:]:
        resumed(batch)
    assert all(torch.equal(value, straight.state_dict()[name]) for name, value in resumed.state_dict().items())


def test_values_pass_until_the_range_is_taken() -> None:
    quantizer = ActivationQuantizer(QuantizationConfig(activation_range="percentile"))
    values = torch.tensor([0.1, -0.7, 1.234])
    assert quantizer.train()(values) is values
    assert not quantizer.has_grid
    quantizer.set_frozen(True)
    assert quantizer.has_grid
    rounded = quantizer(values)
    assert not torch.equal(rounded, values) and torch.allclose(rounded, values, atol=quantizer.scale.item())
    before = quantizer.scale.clone()
    quantizer.set_frozen(True)
    assert torch.equal(before, quantizer.scale)


def test_minmax_keeps_the_extremes() -> None:
    observer = make_observer(QuantizationConfig(activation_range="minmax"))
    assert isinstance(observer, MinMaxObserver)
    for batch in ([1.0, 2.0], [-3.0, 0.5], [0.0]):
        observer(torch.tensor(batch))
    assert (observer.minimum.item(), observer.maximum.item()) == (-3.0, 2.0)
