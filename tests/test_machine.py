"""What is told of a machine, from what its system says."""

import pytest

from pruneofa import machine

X86 = "processor\t: 0\nmodel name\t: Some Xeon @ 2 GHz\nflags\t\t: fpu avx2 avx512f avx512_vnni avx2x\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd i8mm bf16\nModel\t\t: Some Board\n"


@pytest.mark.parametrize(
    ("text", "name", "sets"),
    [
        (X86, "Some Xeon @ 2 GHz", ["avx2", "avx512f", "avx512_vnni"]),
        (ARM, "Some Board", ["asimd", "i8mm", "bf16"]),
    ],
)
def test_processor_and_instruction_sets(monkeypatch, text, name, sets):
    monkeypatch.setattr(machine, "_cpuinfo", lambda: text.splitlines())
    assert machine.processor() == name
    assert machine.instruction_sets() == sets


def test_a_system_that_tells_nothing(monkeypatch):
    monkeypatch.setattr(machine, "_cpuinfo", list)
    monkeypatch.setattr(machine, "memory_bytes", lambda: None)
    facts = machine.describe()
    assert facts["processor"]
    assert facts["instruction sets"] == facts["memory"] == "unknown"


def test_only_installed_packages_are_listed(monkeypatch):
    monkeypatch.setattr(machine, "_PACKAGES", ("numpy", "no-such-package-here"))
    assert list(machine.package_versions()) == ["numpy"]


def test_this_machine_has_a_core_and_memory():
    memory = machine.memory_bytes()
    assert memory is None or memory > 2**26
