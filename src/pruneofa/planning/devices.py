"""Kinds of devices: what their makers say that they can do."""

import difflib
import json
from dataclasses import dataclass
from importlib import resources

from pruneofa.errors import ConfigurationError


@dataclass(frozen=True)
class DeviceKind:
    """One kind of device.

    Attributes:
        kind: its name in the table, or "here" for the device at hand.
        name: in words.
        peak_flops: operations a second in bfloat16, dense, accumulated in float32, by the maker's data sheet; None
            where nobody states it (it is measured instead).
        memory_bytes: its memory; None where that is not known.
        is_cpu: whether it is a processor, on which some kernels keep more.
        source: where `peak_flops` is stated; None where it is not.
    """

    kind: str
    name: str
    peak_flops: float | None
    memory_bytes: int | None
    is_cpu: bool = False
    source: str | None = None


def device_kinds() -> dict[str, DeviceKind]:
    """The table that the package ships (`devices.json`)."""
    text = (resources.files("pruneofa.planning") / "devices.json").read_text(encoding="utf-8")
    return {
        kind: DeviceKind(
            kind, entry["name"], float(entry["peak_flops"]), int(entry["memory_bytes"]), source=entry["source"]
        )
        for kind, entry in json.loads(text).items()
    }


def device_kind(kind: str) -> DeviceKind:
    """The entry of a kind; "here" stands for the device at hand.

    Raises:
        ConfigurationError: there is no such kind.
    """
    if kind == "here":
        return device_here()
    known = device_kinds()
    if kind not in known:
        nearest = [name for name in known if name.startswith(kind)] or difflib.get_close_matches(kind, known, n=1)
        hint = f"; did you mean {' or '.join(nearest)}?" if kind and nearest else "."
        raise ConfigurationError(
            f"--kind is {kind!r}; allowed: here, {', '.join(known)}{hint} For another one give --peak_flops and "
            "--memory_bytes"
        )
    return known[kind]


def device_here() -> DeviceKind:
    """The device at hand, whose rate nobody states."""
    import torch

    from pruneofa import machine

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return DeviceKind("here", str(properties.name), None, int(properties.total_memory))
    return DeviceKind("here", machine.processor(), None, machine.memory_bytes(), is_cpu=True)
