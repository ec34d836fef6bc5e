"""Progress of packing and unpacking: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

from rich.console import Console

from pruneofa.terminal import messages

logger = logging.getLogger(__name__)

Report = Callable[[str, int, int], None]
"""Called as (what is done, how much of it, of how much)."""

_SECONDS_BETWEEN_LINES = 10.0


@contextlib.contextmanager
def progress(label: str, console: Console | None = None) -> Iterator[Report]:
    """A function that shows how far a piece of work is.

    Args:
        label: name of the whole, such as the file that is written.
        console: where a bar is drawn when it is a terminal.
    """
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = console or messages
    if not console.is_terminal:
        yield _lines(label)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, transient=True) as bar:

        def report(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(f"{label}: {what}", total=of)
            bar.update(tasks[what], completed=done)

        yield report


@contextlib.contextmanager
def counter(label: str) -> Iterator[Callable[[int], None]]:
    """A function that shows how many rows are done, of a file whose end nobody knows.

    Args:
        label: name of the file.
    """
    if messages.is_terminal:
        with messages.status(label) as status:
            yield lambda done: status.update(f"{label}: {done:,} rows")
        return
    is_due = _now_and_then()

    def count(done: int) -> None:
        if is_due():
            logger.info("%s: %s rows", label, f"{done:,}")

    yield count


def _lines(label: str) -> Report:
    is_due = _now_and_then()

    def report(what: str, done: int, of: int) -> None:
        if is_due():
            logger.info("%s: %s, %d of %d (%.0f %%)", label, what, done, of, 100 * done / max(1, of))

    return report


def _now_and_then() -> Callable[[], bool]:
    last = time.monotonic()

    def is_due() -> bool:
        nonlocal last
        if time.monotonic() - last < _SECONDS_BETWEEN_LINES:
            return False
        last = time.monotonic()
        return True

    return is_due
