import io
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from pruneofa.training.progress import ProgressReporter


def state(step: int, steps: int = 8, main: bool = True, tokens: int = 0) -> Any:
    return SimpleNamespace(global_step=step, max_steps=steps, is_world_process_zero=main, num_input_tokens_seen=tokens)


def drive(reporter: ProgressReporter, first: int = 0, main: bool = True) -> None:
    reporter.on_train_begin(None, state(first, main=main), None)
    for step in range(first + 1, 9):
        reporter.on_step_end(None, state(step, main=main), None)
        reporter.on_log(None, state(step, main=main), None, logs={"loss": 2.0 / step, "sparsity/actual": step / 10})
    reporter.on_train_end(None, state(8, main=main), None)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=120, record=True)


def test_bar_on_a_terminal(caplog: pytest.LogCaptureFixture) -> None:
    console = terminal()
    with caplog.at_level(logging.INFO):
        drive(ProgressReporter("prune", console, seconds_between_lines=0.0))
    shown = console.export_text()
    assert "prune" in shown
    assert "8/8" in shown
    assert "steps/s, loss 0.286, sparsity 70.0%" in shown  # as logged before the last step
    assert not caplog.messages


def test_plain_lines_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    output = io.StringIO()
    with caplog.at_level(logging.INFO):
        drive(ProgressReporter("prune", Console(file=output), seconds_between_lines=0.0))
    assert output.getvalue() == ""
    assert len(caplog.messages) == 8
    assert caplog.messages[0].startswith("prune: step 1 of 8, ")
    assert caplog.messages[0].endswith(" left")
    assert "\x1b" not in caplog.text
    line = caplog.messages[-1]
    assert line.startswith("prune: step 8 of 8, ")
    assert line.endswith(" steps/s, 0:00:00 left, loss 0.286, sparsity 70.0%")


def test_lines_come_no_more_often_than_asked(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        drive(ProgressReporter("prune", Console(file=io.StringIO()), seconds_between_lines=3600.0))
    assert not caplog.messages


@pytest.mark.parametrize("console", [terminal(), Console(file=io.StringIO())], ids=["terminal", "plain"])
def test_resumed_run_says_so(console: Console, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        drive(ProgressReporter("prune", console, seconds_between_lines=3600.0), first=5)
    assert caplog.messages == ["prune: continuing at step 5 of 8"]


@pytest.mark.parametrize("console", [terminal(), Console(file=io.StringIO())], ids=["terminal", "plain"])
def test_only_the_main_process_shows_anything(console: Console, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        drive(ProgressReporter("prune", console, seconds_between_lines=0.0), first=2, main=False)
    assert console.file.getvalue() == ""
    assert not caplog.messages


def test_bar_is_closed_when_training_is_broken_off() -> None:
    console = terminal()
    reporter = ProgressReporter("prune", console)
    reporter.on_train_begin(None, state(0), None)
    reporter.close()
    reporter.close()
    assert "\x1b[?25h" in console.file.getvalue()  # the cursor is back


def test_time_left_follows_the_rate(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 160.0])
    monkeypatch.setattr("pruneofa.training.progress.time.monotonic", lambda: next(clock))
    reporter = ProgressReporter("teach", Console(file=io.StringIO()))
    reporter.on_train_begin(None, state(1_000, 10_000), None)
    caplog.clear()  # that it continues
    with caplog.at_level(logging.INFO):
        reporter.on_step_end(None, state(1_120, 10_000), None)
    assert caplog.messages == ["teach: step 1120 of 10000, 2.00 steps/s, 1:14:00 left"]


@pytest.mark.parametrize(
    ("tokens", "told"), [(7, "0"), (57_000, "950"), (90_000, "1.5k"), (2_100_000, "35k"), (10**9, "17M")]
)
def test_tokens_of_this_start_by_the_second(
    tokens: int, told: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 160.0])
    monkeypatch.setattr("pruneofa.training.progress.time.monotonic", lambda: next(clock))
    reporter = ProgressReporter("teach", Console(file=io.StringIO()))
    reporter.on_train_begin(None, state(30, 60, tokens=5_000_000), None)
    reporter.on_log(None, state(30, 60), None, logs={"loss": 2.5, "learning_rate": 1.5e-4, "sparsity/actual": 0.85})
    caplog.clear()  # that it continues
    with caplog.at_level(logging.INFO):
        reporter.on_step_end(None, state(45, 60, tokens=5_000_000 + tokens), None)
    assert caplog.messages == [
        f"teach: step 45 of 60, 0.25 steps/s, {told} tokens/s, 0:01:00 left, loss 2.500, rate 1.50e-04, sparsity 85.0%"
    ]
