"""The engine's default threads: the environment, affinity, physical cores and container quotas, from recorded files."""

import os

import pytest

from pruneofa import cores
from pruneofa.cores import thread_choice
from pruneofa.errors import ConfigurationError

# As a container of docker with cgroup v2 and a private namespace shows them.
UNIFIED_GROUP = "0::/\n"
UNIFIED_MOUNT = "729 718 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate\n"
# As a service of systemd on the host.
SERVICE_GROUP = "0::/system.slice/app.service\n"
# As a container of docker with cgroup v1: the group's path is the host's, the mount shows it alone.
OLD_GROUP = "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"
OLD_MOUNT = (
    "637 632 0:34 /docker/abc /sys/fs/cgroup/memory ro,relatime master:16 - cgroup cgroup rw,memory\n"
    "636 632 0:33 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro,relatime master:15 - cgroup cgroup rw,cpu,cpuacct\n"
)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of 16 hardware threads on 8 cores, as files below a folder."""
    monkeypatch.delenv(cores.THREADS_VARIABLE, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    for number in range(16):
        write(
            tmp_path,
            f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list",
            f"{number % 8},{number % 8 + 8}",
        )
    return tmp_path


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def grouped(root, group, mount, files):
    write(root, "proc/self/cgroup", group)
    write(root, "proc/self/mountinfo", f"25 30 0:23 / /sys rw - sysfs sysfs rw\n{mount}")
    for name, text in files.items():
        write(root, name, text)


def test_threads_of_one_core_count_once(machine):
    choice = thread_choice(machine)
    assert choice.threads == 8
    assert choice.reason == "physical cores: 8, with 16 hardware threads"


def test_affinity_decides_where_it_leaves_less(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2, 3}, raising=False)
    assert thread_choice(machine) == cores.ThreadChoice(3, "affinity: 3 logical cores")


@pytest.mark.parametrize(
    ("text", "threads"), [("50000 100000", 1), ("250000 100000", 2), ("400000 100000", 4), ("max 100000", 8)]
)
def test_a_unified_quota_is_rounded_down_to_one_at_least(machine, text, threads):
    grouped(machine, UNIFIED_GROUP, UNIFIED_MOUNT, {"sys/fs/cgroup/cpu.max": text})
    choice = thread_choice(machine)
    assert choice.threads == threads
    assert choice.reason.startswith("container quota" if threads < 8 else "physical")


def test_the_narrowest_quota_of_all_levels_holds(machine):
    files = {
        "sys/fs/cgroup/cgroup.procs": "1",
        "sys/fs/cgroup/system.slice/cpu.max": "200000 100000",
        "sys/fs/cgroup/system.slice/app.service/cpu.max": "600000 100000",
    }
    grouped(machine, SERVICE_GROUP, UNIFIED_MOUNT, files)
    assert thread_choice(machine) == cores.ThreadChoice(2, "container quota: 2 CPUs")


@pytest.mark.parametrize(("quota", "threads"), [("300000", 3), ("-1", 8)])
def test_an_old_quota_is_read_where_the_group_is_mounted(machine, quota, threads):
    folder = "sys/fs/cgroup/cpu,cpuacct"
    files = {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": "100000"}
    grouped(machine, OLD_GROUP, OLD_MOUNT, files)
    assert thread_choice(machine).threads == threads


@pytest.mark.parametrize("text", ["", "max", "many 100000", "100000", "0 100000", "100000 0", "-5 100000"])
def test_a_quota_that_makes_no_sense_limits_nothing(machine, text):
    grouped(machine, UNIFIED_GROUP, UNIFIED_MOUNT, {"sys/fs/cgroup/cpu.max": text})
    assert thread_choice(machine).threads == 8


def test_a_system_that_tells_nothing_has_the_cores_of_the_affinity(monkeypatch, tmp_path):
    monkeypatch.delenv(cores.THREADS_VARIABLE, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)), raising=False)
    assert thread_choice(tmp_path).threads == 5


def test_a_machine_of_many_cores_is_capped(monkeypatch, tmp_path):
    monkeypatch.delenv(cores.THREADS_VARIABLE, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(384)), raising=False)
    choice = thread_choice(tmp_path)
    assert choice.threads == cores.MOST_THREADS
    assert "384" in choice.reason


@pytest.mark.parametrize(("value", "threads"), [("3", 3), (" 1 ", 1), ("4000", cores.MOST_THREADS)])
def test_the_variable_decides(machine, monkeypatch, value, threads):
    grouped(machine, UNIFIED_GROUP, UNIFIED_MOUNT, {"sys/fs/cgroup/cpu.max": "50000 100000"})
    monkeypatch.setenv(cores.THREADS_VARIABLE, value)
    assert thread_choice(machine).threads == threads


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "²"])
def test_a_variable_that_is_no_number_is_named(machine, monkeypatch, value):
    monkeypatch.setenv(cores.THREADS_VARIABLE, value)
    with pytest.raises(ConfigurationError, match=r"PRUNEOFA_NUM_THREADS is .* from 1"):
        thread_choice(machine)


def test_this_process_has_cores():
    assert 1 <= cores.physical_cores() <= os.cpu_count()
    assert 1 <= cores.usable_cores() <= os.cpu_count()
