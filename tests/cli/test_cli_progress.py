import io
import logging
from typing import Any

import pytest
from rich.console import Console

from pruneofa.cli import progress as module
from pruneofa.cli.progress import progress


def test_a_terminal_gets_a_bar_for_each_part() -> None:
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=80)
    with progress("model.pofa", console) as report:
        for done in (1, 2, 4):
            report("encode", done, 4)
        report("write", 50, 200)
    text = drawn.getvalue()
    assert "model.pofa: encode" in text and "100%" in text
    assert "model.pofa: write" in text and "25%" in text


def test_elsewhere_lines_are_logged_now_and_then(caplog: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    caplog.set_level(logging.INFO, logger="pruneofa")
    with progress("model.pofa", Console(file=io.StringIO())) as report:
        for done in range(1, 41):
            now[0] += 1.0
            report("encode", done, 40)
    assert [record.getMessage() for record in caplog.records] == [
        f"model.pofa: encode, {done} of 40 ({done / 0.4:.0f} %)" for done in (10, 20, 30, 40)
    ]
