import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.sparsity.schedule import cubic_sparsity, is_update, sparsity_at


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.0), (1_000, 0.0529), (10_000, 0.4392), (25_000, 0.7875), (50_000, 0.9), (99_999, 0.9)],
)
def test_values_of_the_authors_run(step: int, expected: float) -> None:
    assert round(sparsity_at(step, SparsityConfig(target_sparsity=0.9, end_step=50_000)), 4) == expected


def test_selects_at_begin_at_every_interval_and_exactly_at_the_end() -> None:
    config = SparsityConfig(begin_step=3, end_step=10, update_every=4, freeze_step=20)
    assert [step for step in range(30) if is_update(step, config)] == [3, 7, 10, 11, 15, 19]
    assert sparsity_at(10, config) == config.target_sparsity


def test_without_freeze_step_the_end_is_the_last_selection() -> None:
    config = SparsityConfig(end_step=10, update_every=4)
    assert [step for step in range(30) if is_update(step, config)] == [0, 4, 8, 10]
    assert config.last_update == 10


def test_nothing_is_pruned_before_begin_step() -> None:
    config = SparsityConfig(initial_sparsity=0.5, target_sparsity=0.9, begin_step=10, end_step=20)
    assert [sparsity_at(step, config) for step in (0, 9, 10)] == [0.0, 0.0, 0.5]


def test_a_ramp_of_no_length_is_one_cut() -> None:
    config = SparsityConfig(target_sparsity=0.8, begin_step=5, end_step=5)
    assert [sparsity_at(step, config) for step in (4, 5, 6)] == [0.0, 0.8, 0.8]


@given(
    low=st.floats(0, 0.99),
    high=st.floats(0, 0.99),
    begin=st.integers(0, 1_000),
    length=st.integers(1, 1_000),
    step=st.integers(0, 2_500),
)
def test_rises_from_initial_to_target_and_stays_between(
    low: float, high: float, begin: int, length: int, step: int
) -> None:
    low, high = sorted((low, high))
    at = [
        cubic_sparsity(t, initial=low, target=high, begin_step=begin, end_step=begin + length) for t in (step, step + 1)
    ]
    assert low <= at[0] <= at[1] + 1e-15
    assert at[1] <= high
    if step >= begin + length:
        assert at[0] == high


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"target_sparsity": 1.0}, "less than 1"),
        ({"target_sparsity": -0.1}, "greater than or equal to 0"),
        ({"target_sparsity": float("nan")}, "finite number"),
        ({"begin_step": 10, "end_step": 9}, "9 lies before begin_step = 10; allowed: end_step >= begin_step"),
        ({"end_step": 10, "freeze_step": 9}, "9 lies before end_step = 10; allowed: freeze_step >= end_step"),
        ({"target_sparsity": 0.5, "initial_sparsity": 0.6}, "0.6 is above target_sparsity = 0.5"),
        ({"update_every": 0}, "greater than or equal to 1"),
        ({"targets": []}, "at least 1 item"),
        ({"sparsity": 0.5}, "unknown key"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        SparsityConfig(**settings)  # type: ignore[arg-type]


def test_all_faults_are_reported_together() -> None:
    with pytest.raises(ConfigurationError) as caught:
        SparsityConfig(target_sparsity=2.0, update_every=0, begin_step=5, end_step=1)
    at_fault = {line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]}
    assert at_fault == {"target_sparsity", "update_every", "end_step"}
