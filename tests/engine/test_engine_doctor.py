"""`pruneofa doctor` says which kernels the engine uses."""

import json

import pytest

from pruneofa.engine.native import kernel_names

pytest.importorskip("typer")


def test_doctor_names_the_active_kernel(cli, monkeypatch):
    monkeypatch.delenv("PRUNEOFA_KERNEL", raising=False)
    facts = json.loads(cli("doctor", "--json").out)
    assert facts["active kernel"] == kernel_names()[0]
    assert facts["supported kernels"] == ", ".join(kernel_names())
    assert f"active kernel: {kernel_names()[0]}\n" in cli("doctor").out


def test_doctor_follows_the_variable(cli, monkeypatch):
    monkeypatch.setenv("PRUNEOFA_KERNEL", "portable")
    assert json.loads(cli("doctor", "--json").out)["active kernel"] == "portable"
    monkeypatch.setenv("PRUNEOFA_KERNEL", "avx9")
    outcome = cli("doctor", "--json")
    assert outcome.code == 0
    assert "kernel 'avx9' is unknown" in json.loads(outcome.out)["active kernel"]
