"""Progress of a training run: a live bar on a terminal, plain lines in the log elsewhere."""

import datetime
import logging
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback

from pruneofa.terminal import messages

logger = logging.getLogger(__name__)


class ProgressReporter(TrainerCallback):  # type: ignore[misc]
    """Shows steps, steps and tokens a second, time left, loss, learning rate and sparsity of one run.

    Args:
        label: what is running.
        console: where a bar is drawn when it is a terminal.
        seconds_between_lines: how often a line is logged when it is none.
    """

    def __init__(self, label: str, console: Console | None = None, seconds_between_lines: float = 15.0) -> None:
        self._label = label
        self._console = console or messages
        self._seconds_between_lines = seconds_between_lines
        self._bar: Progress | None = None
        self._task: Any = None
        self._started = self._last_line = 0.0
        self._first_step = 0
        self._first_token = 0
        self._latest: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar, or log that training begins."""
        self._started = self._last_line = time.monotonic()
        self._first_step, self._first_token = state.global_step, state.num_input_tokens_seen
        if not state.is_world_process_zero:
            return
        if self._first_step:
            logger.info("%s: continuing at step %d of %d", self._label, self._first_step, state.max_steps)
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task(self._label, total=state.max_steps, completed=self._first_step, facts="")
            self._bar.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance."""
        now = time.monotonic()
        if self._bar is not None:
            facts = f"{self._rates(state, now)}{self._facts(', ')}"
            self._bar.update(self._task, completed=state.global_step, facts=facts)
        elif state.is_world_process_zero and now - self._last_line >= self._seconds_between_lines:
            self._last_line = now
            left = (state.max_steps - state.global_step) / max(1e-9, self._rate(state, now))
            logger.info(
                "%s: step %d of %d, %s, %s left%s",
                self._label,
                state.global_step,
                state.max_steps,
                self._rates(state, now),
                datetime.timedelta(seconds=round(left)),
                self._facts(", "),
            )

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Remember the latest figures."""
        self._latest.update(logs or {})

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Close the bar, also when training was broken off."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _rate(self, state: Any, now: float) -> float:
        return float(state.global_step - self._first_step) / max(1e-9, now - self._started)

    def _rates(self, state: Any, now: float) -> str:
        tokens = (state.num_input_tokens_seen - self._first_token) / max(1e-9, now - self._started)
        # A step took its tokens, so none at all means that nobody counts them.
        counted = f", {_short(tokens)} tokens/s" if state.num_input_tokens_seen else ""
        return f"{self._rate(state, now):.2f} steps/s{counted}"

    def _facts(self, prefix: str) -> str:
        facts = []
        if "loss" in self._latest:
            facts.append(f"loss {self._latest['loss']:.3f}")
        if "learning_rate" in self._latest:
            facts.append(f"rate {self._latest['learning_rate']:.2e}")
        if "sparsity/actual" in self._latest:
            facts.append(f"sparsity {self._latest['sparsity/actual']:.1%}")
        return prefix + ", ".join(facts) if facts else ""


def _short(number: float) -> str:
    """Three digits or so: 950, 1.2k, 35k, 2.1M."""
    for factor, unit in ((1e6, "M"), (1e3, "k")):
        if number >= factor:
            value = number / factor
            return f"{value:.1f}{unit}" if value < 9.95 else f"{value:.0f}{unit}"
    return f"{number:.0f}"
