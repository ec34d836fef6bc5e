"""The table of devices: complete, in plausible units, and its figures consistent with each other."""

import json
import re
from importlib import resources

import pytest

from pruneofa import machine
from pruneofa.errors import ConfigurationError
from pruneofa.planning.devices import device_here, device_kind, device_kinds


def test_every_entry_says_all_and_nothing_else():
    text = (resources.files("pruneofa.planning") / "devices.json").read_text(encoding="utf-8")
    table = json.loads(text)
    assert list(table) == sorted(table)
    for kind, entry in table.items():
        assert set(entry) == {"name", "peak_flops", "memory_bytes", "source"}, kind


@pytest.mark.parametrize("device", device_kinds().values(), ids=lambda device: device.kind)
def test_units_are_operations_a_second_and_bytes(device):
    # From the slowest card with bfloat16 units to some times the fastest; a figure in TFLOPS or GB would be far below.
    assert 20e12 <= device.peak_flops <= 5e15
    assert 8e9 <= device.memory_bytes <= 512e9
    assert not device.is_cpu
    stated = re.search(r"(\d+) GB", device.name)
    assert stated is not None and int(stated[1]) == device.memory_bytes / 1e9, "the name and the figure differ"


@pytest.mark.parametrize("device", device_kinds().values(), ids=lambda device: device.kind)
def test_the_source_states_the_figure(device):
    """As it stands there, or twice that: with 2:4 zeros ("halved")."""
    assert re.match(r"(NVIDIA|AMD) .*(data sheet|white paper|technical brief)", device.source)
    stated = re.search(r"([\d.,]+) ([TP])FLOPS", device.source) or re.search(r"accumulate ([\d.]+)( )", device.source)
    rate = float(stated[1].replace(",", "")) * (1e15 if stated[2] == "P" else 1e12)
    assert device.peak_flops == pytest.approx(rate / (2 if "halved" in device.source else 1), rel=2e-3)


def test_rates_are_those_without_structured_sparsity():
    """Data sheets print twice the rate, for 2:4 zeros, in the larger type."""
    known = device_kinds()
    assert known["a100-80gb"].peak_flops == 312e12  # NVIDIA A100 data sheet: 312, 624 with sparsity
    assert known["h100-sxm"].peak_flops == 989e12  # NVIDIA H100 data sheet: 1,979 with sparsity
    assert known["h200"].peak_flops == known["h100-sxm"].peak_flops  # the same chip, more memory
    assert known["h100-pcie"].peak_flops < known["h100-sxm"].peak_flops < known["b200"].peak_flops
    assert known["a100-40gb"].peak_flops == known["a100-80gb"].peak_flops


def test_an_unknown_kind_names_the_nearest_and_the_way_out():
    with pytest.raises(ConfigurationError, match=r"--kind is 'h100-sxn'; .*; did you mean h100-sxm\? For another one"):
        device_kind("h100-sxn")
    with pytest.raises(ConfigurationError, match=r"did you mean h100-pcie or h100-sxm\?"):
        device_kind("h100")
    with pytest.raises(ConfigurationError, match=r"allowed: here, a10, .*rtx-4090\. For another one give --peak_flops"):
        device_kind("???")


def test_the_device_at_hand_has_memory_and_no_stated_rate():
    found = device_kind("here")
    assert found == device_here()
    assert (found.kind, found.peak_flops) == ("here", None)
    if found.is_cpu:
        assert found.memory_bytes == machine.memory_bytes()
