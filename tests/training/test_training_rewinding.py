from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import SGD
from training_runs import SPARSITY, STEPS, TRAINING, logged, make_trainer
from transformers import get_scheduler
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

from pruneofa.errors import ConfigurationError
from pruneofa.training.rewinding import (
    REWINDING_SCHEDULES,
    cyclic_multiplier,
    get_rewinding_schedule,
    sawtooth_multiplier,
)

AUTHORS = {"total_steps": 100_000, "warmup_steps": 1_000, "begin_step": 0, "end_step": 50_000, "interval": 1_000}
LATE = {"total_steps": 100, "warmup_steps": 5, "begin_step": 20, "end_step": 60, "interval": 10}


def optimizer(rate: float = 1.0) -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(500, 0.5), (1_000, 1.020408), (1_999, 1.000020), (2_000, 1.020408), (50_000, 1.020408), (75_000, 0.510204)],
)
def test_authors_run_has_the_published_multipliers(step: int, expected: float) -> None:
    assert sawtooth_multiplier(step, **AUTHORS) == pytest.approx(expected, abs=5e-7)


def test_authors_run_ends_at_zero() -> None:
    assert sawtooth_multiplier(100_000, **AUTHORS) == 0.0
    assert sawtooth_multiplier(100_001, **AUTHORS) == 0.0


def test_pruning_that_begins_later_decays_before_it() -> None:
    # N - P - W = 55
    expected = {
        0: 0,
        3: 3 / 5,
        5: 1,
        19: 41 / 55,
        20: 40 / 55,
        29: 31 / 55,
        30: 40 / 55,
        59: 31 / 55,
        60: 40 / 55,
        80: 20 / 55,
    }
    assert {step: sawtooth_multiplier(step, **LATE) for step in expected} == pytest.approx(expected)


def test_without_pruning_steps_it_is_the_linear_schedule() -> None:
    settings = {"total_steps": 50, "warmup_steps": 10, "begin_step": 0, "end_step": 0, "interval": 5}
    linear = get_scheduler("linear", optimizer(), num_warmup_steps=10, num_training_steps=50)
    for step in range(51):
        assert sawtooth_multiplier(step, **settings) == pytest.approx(linear.lr_lambdas[0](step))


@given(st.integers(1, 50), st.integers(0, 50), st.integers(1, 60), st.integers(1, 20), st.integers(0, 30), st.data())
def test_sawtooth_rises_only_at_pruning_events(
    decay: int, begin: int, ramp: int, interval: int, warmup: int, data: st.DataObject
) -> None:
    total = ramp + warmup + max(decay, begin)
    settings = {"total_steps": total, "warmup_steps": warmup, "interval": interval}
    settings |= {"begin_step": begin, "end_step": begin + ramp}
    step = data.draw(st.integers(warmup + 1, total + 5))
    before, now = (sawtooth_multiplier(at, **settings) for at in (step - 1, step))
    is_event = begin < step <= begin + ramp and ((step - begin) % interval == 0 or step == begin + ramp)
    assert now >= 0.0
    if not is_event:
        assert now <= before


def test_cycles_go_from_high_to_low_in_every_interval() -> None:
    expected = {0: 0, 3: 3 / 5, 5: 1, 19: 1, 20: 1, 25: 0.505, 29: 0.109, 30: 1, 59: 0.109, 60: 1, 80: 0.505, 100: 0.01}
    assert {step: cyclic_multiplier(step, **LATE) for step in expected} == pytest.approx(expected)


def test_cut_off_last_cycle_is_whole_too() -> None:
    settings = {"total_steps": 40, "warmup_steps": 0, "begin_step": 0, "end_step": 15, "interval": 10}
    assert cyclic_multiplier(10, **settings) == 1.0
    assert cyclic_multiplier(14, **settings) == pytest.approx(1 - 0.99 * 4 / 5)
    assert cyclic_multiplier(15, **settings) == 1.0


@pytest.mark.parametrize("kind", REWINDING_SCHEDULES)
def test_schedule_multiplies_the_rate_and_survives_its_state_dict(kind: str) -> None:
    multiplier = {"rewinding": sawtooth_multiplier, "rewinding_cycles": cyclic_multiplier}[kind]
    first = optimizer(3e-4)
    schedule = get_rewinding_schedule(first, kind, **LATE)
    resumed_optimizer, resumed = optimizer(3e-4), None
    for step in range(100):
        assert first.param_groups[0]["lr"] == 3e-4 * multiplier(step, **LATE)
        if step == 37:
            resumed = get_rewinding_schedule(resumed_optimizer, kind, **LATE)
            resumed.load_state_dict(schedule.state_dict())
            resumed_optimizer.load_state_dict(first.state_dict())
        first.step()
        schedule.step()
        if resumed is not None:
            resumed_optimizer.step()
            resumed.step()
            assert resumed.get_last_lr() == schedule.get_last_lr()
    assert resumed is not None
    assert resumed.state_dict() == schedule.state_dict()


def test_library_schedules_are_untouched(tmp_path: Path) -> None:
    before = dict(TYPE_TO_SCHEDULER_FUNCTION)
    make_trainer("prune", tmp_path).train()
    assert before == TYPE_TO_SCHEDULER_FUNCTION
    trainer = make_trainer("prune", tmp_path / "linear", lr_schedule=None)
    trainer.train()
    linear = get_scheduler("linear", optimizer(2e-3), num_warmup_steps=1, num_training_steps=STEPS)
    assert type(trainer.lr_scheduler) is type(linear)
    rates = logged(trainer, "learning_rate")
    assert rates == {step: 2e-3 * linear.lr_lambdas[0](step - 1) for step in rates}


@pytest.mark.parametrize("kind", REWINDING_SCHEDULES)
def test_rate_of_a_run_is_the_closed_form_and_high_after_each_event(kind: str, tmp_path: Path) -> None:
    every_step = TRAINING.model_copy(update={"logging_steps": 1, "eval_steps": None})
    trainer = make_trainer("prune", tmp_path, every_step, lr_schedule=kind)
    trainer.train()
    multiplier = {"rewinding": sawtooth_multiplier, "rewinding_cycles": cyclic_multiplier}[kind]
    settings = {"total_steps": STEPS, "warmup_steps": 1, "begin_step": 0, "end_step": 6, "interval": 2}
    rates = logged(trainer, "learning_rate")
    # What is logged at a step is the rate that the step was taken with.
    assert rates == {step: 2e-3 * multiplier(step - 1, **settings) for step in range(1, STEPS + 1)}
    sparsity = logged(trainer, "sparsity/actual")
    events = [step for step in range(2, STEPS) if sparsity[step] > sparsity[step - 1]]
    assert events == [2, 4, 6]
    assert all(rates[step + 1] > rates[step] for step in events)
    assert sparsity[SPARSITY.end_step] == pytest.approx(0.7, abs=1e-3)


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="lr_scheduler_type is 'zigzag'; allowed: rewinding, rewinding_cycles"):
        get_rewinding_schedule(optimizer(), "zigzag", **LATE)


def test_no_steps_to_decay_over_is_refused() -> None:
    settings = {"total_steps": 100, "warmup_steps": 10, "begin_step": 0, "end_step": 90, "interval": 10}
    with pytest.raises(
        ConfigurationError, match=r"from step 0 to 90 and 10 steps of warm-up leave none of the run's 100"
    ):
        get_rewinding_schedule(optimizer(), "rewinding", **settings)
    get_rewinding_schedule(optimizer(), "rewinding_cycles", **settings)
