"""How much of the machine others used while something was measured."""

import os
import time
from collections.abc import Iterable

__all__ = ["Quiet"]

_BUSY = (0, 1, 2, 5, 6, 7)  # user, nice, system, interrupts (two kinds), and what the host took


class Quiet:
    """Watches the processor from its making on.

    Args:
        own: Processes whose work is the measurement's; this one is among them.
    """

    def __init__(self, own: Iterable[int] = ()) -> None:
        self._own = [os.getpid(), *own]
        self._started = time.monotonic()
        self._busy, self._mine = _busy_seconds(), self._own_seconds()

    def others(self) -> float | None:
        """Cores that others kept busy on average, such as 0.3; None where the system does not tell."""
        busy, elapsed = _busy_seconds(), time.monotonic() - self._started
        if busy is None or self._busy is None or elapsed <= 0:
            return None
        return max(0.0, (busy - self._busy - (self._own_seconds() - self._mine)) / elapsed)

    def _own_seconds(self) -> float:
        return sum(_process_seconds(pid) for pid in self._own)


def _busy_seconds() -> float | None:
    """Processor time of everything since the machine started."""
    try:
        with open("/proc/stat", encoding="ascii") as file:  # noqa: PTH123
            ticks = [int(word) for word in file.readline().split()[1:]]
    except (OSError, ValueError):
        return None
    return sum(ticks[place] for place in _BUSY if place < len(ticks)) / os.sysconf("SC_CLK_TCK")


def _process_seconds(pid: int) -> float:
    """Processor time of a process and the children that it has waited for; 0 for one that is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            words = file.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(word) for word in words[11:15]) / os.sysconf("SC_CLK_TCK")
