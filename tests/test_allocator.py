"""The allocator's tuning changes no result and respects the user's own."""

import subprocess
import sys

import pytest

from pruneofa import allocator


def test_does_nothing_where_the_user_has_tuned_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "7")
    assert allocator.keep_freed_memory() is False


def test_does_nothing_on_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator.keep_freed_memory() is False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc is Linux's")
def test_freed_memory_is_kept() -> None:
    """A block of 200 MB that is freed stays with the process only after tuning."""
    code = (
        "import resource, sys\n"
        "from pruneofa.allocator import keep_freed_memory\n"
        "def resident():\n"
        "    return int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize()\n"
        "if sys.argv[1] == 'tuned' and not keep_freed_memory():\n"
        "    sys.exit(77)\n"
        "block = bytearray(b'x') * 200_000_000\n"
        "del block\n"
        "print(resident())\n"
    )
    environment = {"PATH": "/usr/bin:/bin"}
    runs = {
        kind: subprocess.run(
            [sys.executable, "-c", code, kind], capture_output=True, text=True, env=environment, check=False
        )
        for kind in ("plain", "tuned")
    }
    if runs["tuned"].returncode == 77:
        pytest.skip("no glibc here")
    plain, tuned = (int(run.stdout) for run in runs.values())
    assert plain < 150_000_000 < tuned
