"""How many cores this process gets: by its affinity, by a container's quota, by the processor's physical cores."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pruneofa.errors import ConfigurationError

__all__ = [
    "MOST_THREADS",
    "THREADS_VARIABLE",
    "ThreadChoice",
    "default_threads",
    "physical_cores",
    "thread_choice",
    "usable_cores",
]

THREADS_VARIABLE = "PRUNEOFA_NUM_THREADS"
"""Environment variable that sets the engine's threads."""

MOST_THREADS = 256
"""The most threads that one engine takes."""


@dataclass(frozen=True)
class ThreadChoice:
    """The engine's default threads.

    Attributes:
        threads: How many.
        reason: Which limit decided.
    """

    threads: int
    reason: str


def default_threads() -> int:
    """Threads of an engine that is not told otherwise; see `thread_choice`.

    Raises:
        ConfigurationError: PRUNEOFA_NUM_THREADS is no number.
    """
    return thread_choice().threads


def thread_choice(root: Path = Path("/")) -> ThreadChoice:
    """PRUNEOFA_NUM_THREADS where it is set, else the least of affinity, physical cores and the container's CPU quota.

    A quota is rounded down (one thread at least): threads beyond it would be stopped in turn, and wait for each other.

    Args:
        root: Where `/proc` and `/sys` are.

    Raises:
        ConfigurationError: The variable is no number from 1.
    """
    if (given := os.environ.get(THREADS_VARIABLE, "").strip()) != "":
        if not (given.isascii() and given.isdecimal()) or int(given) < 1:
            raise ConfigurationError(
                f"{THREADS_VARIABLE} is {given!r:.40}, allowed is a whole number from 1; correct it or unset it"
            )
        return _capped(int(given), THREADS_VARIABLE)
    allowed = _affinity()
    physical = _physical_cores(allowed, root)
    quota = _quota(root)
    choice = ThreadChoice(len(allowed), f"affinity: {len(allowed)} logical cores")
    if physical < choice.threads:
        choice = ThreadChoice(physical, f"physical cores: {physical}, with {len(allowed)} hardware threads")
    if quota is not None and quota < choice.threads:
        choice = ThreadChoice(max(1, int(quota)), f"container quota: {quota:g} CPUs")
    return _capped(choice.threads, choice.reason)


def usable_cores() -> int:
    """Logical cores that this process may use: by affinity and container quota."""
    allowed, quota = len(_affinity()), _quota(Path("/"))
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def physical_cores() -> int:
    """Physical cores among those that this process may run on."""
    return _physical_cores(_affinity(), Path("/"))


def _capped(threads: int, reason: str) -> ThreadChoice:
    if threads <= MOST_THREADS:
        return ThreadChoice(threads, reason)
    return ThreadChoice(MOST_THREADS, f"the engine's most; {reason}")


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _physical_cores(allowed: set[int], root: Path) -> int:
    """Groups of hardware threads with a member in `allowed`; where the system does not tell, each is a core."""
    topology = root / "sys/devices/system/cpu"
    groups = {_text(topology / f"cpu{number}/topology/thread_siblings_list") or f"only {number}" for number in allowed}
    return max(1, len(groups))


def _quota(root: Path) -> float | None:
    """CPUs that the control groups of this process allow, the least of all levels; None where nothing limits them."""
    limits = []
    for folder, is_unified in _group_folders(root):
        if is_unified:
            quota, _, period = (_text(folder / "cpu.max") or "max").partition(" ")
        else:
            quota = _text(folder / "cpu.cfs_quota_us") or "-1"
            period = _text(folder / "cpu.cfs_period_us") or ""
        if quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0:
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def _group_folders(root: Path) -> Iterator[tuple[Path, bool]]:
    """Folders of this process's CPU control group and of those above it, and whether they are of version 2."""
    paths: dict[bool, str] = {}
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "" or "cpu" in controllers.split(","):
            paths[controllers == ""] = path
    for line in (_text(root / "proc/self/mountinfo") or "").splitlines():
        mount, _, kind = line.partition(" - ")
        fields, types = mount.split(" "), kind.split(" ")
        if len(fields) < 5 or len(types) < 3:
            continue
        is_unified = types[0] == "cgroup2"
        if not is_unified and (types[0] != "cgroup" or "cpu" not in types[2].split(",")):
            continue
        if is_unified not in paths:
            continue
        top = root / fields[4].lstrip("/")
        # In a container the group's path may be told as the host sees it, outside of what is mounted here.
        path, mounted = paths[is_unified], fields[3].rstrip("/")
        inside = path.removeprefix(mounted) if path == mounted or path.startswith(f"{mounted}/") else ""
        parts = [part for part in inside.split("/") if part]
        if ".." in parts or not top.joinpath(*parts).is_dir():
            parts = []
        for depth in range(len(parts), -1, -1):
            yield top.joinpath(*parts[:depth]), is_unified


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
