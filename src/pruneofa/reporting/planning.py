"""A run's plan as tables: what there is to compute, what a device must hold, how long it takes.

All functions take a plan as `pruneofa plan --json` prints it.
"""

from collections.abc import Mapping
from typing import Any

from pruneofa.reporting.tables import Grid
from pruneofa.reporting.units import MISSING, format_bytes

_PARTS = ("weights", "gradients", "optimizer", "masks", "hidden_values", "teacher", "activations", "logits")


def work_grid(plan: Mapping[str, Any]) -> Grid:
    """Tokens and operations of each stage, in units of 10^15, and the bytes of its checkpoints."""
    headings = ["stage", "steps", "sequences", "tokens", "encoder", "attention", "head", "again", "teacher", "PFLOP"]
    rows = []
    for stage in plan["stages"]:
        flops = stage["flops"]
        rows.append(
            [
                stage["stage"],
                f"{stage['steps']:,}",
                f"{stage['sequences']:,}",
                _counted(stage["tokens"]),
                *(
                    _peta(flops[part]) if flops[part] else MISSING
                    for part in ("encoder", "attention", "head", "recomputed", "teacher")
                ),
                _peta(flops["total"]),
            ]
        )
    return headings, rows


def memory_grid(plan: Mapping[str, Any]) -> Grid:
    """What one device holds in a step, for each stage and number of devices."""
    headings = ["stage", "devices", "batch", *(part.replace("_", " ") for part in _PARTS), "in all", "largest batch"]
    rows = []
    for stage in plan["stages"]:
        for entry in stage["on"]:
            memory = entry["memory"]
            rows.append(
                [
                    stage["stage"],
                    f"{entry['devices']:,}",
                    f"{entry['batch']} x {entry['accumulation']}",
                    *(format_bytes(memory[part]) if memory[part] else MISSING for part in _PARTS),
                    format_bytes(memory["total"]) + (" (too much)" if entry["fits"] is False else ""),
                    MISSING if entry["largest_batch"] is None else f"{entry['largest_batch']:,}",
                ]
            )
    return headings, rows


def time_grid(plan: Mapping[str, Any]) -> Grid:
    """Time of each stage and of all, for each number of devices."""
    headings = ["devices", "stage", "s a step", "from", "time", "device hours"]
    rows = []
    for index, devices in enumerate(plan["devices"]):
        for stage in plan["stages"]:
            entry = stage["on"][index]
            rows.append(
                [
                    f"{devices:,}",
                    stage["stage"],
                    MISSING if entry["step_seconds"] is None else f"{entry['step_seconds']:.3g}",
                    entry["basis"] or MISSING,
                    *_time(entry["seconds"], devices),
                ]
            )
        rows.append([f"{devices:,}", "all", MISSING, MISSING, *_time(plan["total_seconds"][str(devices)], devices)])
    return headings, rows


def storage_grid(plan: Mapping[str, Any]) -> Grid:
    """Bytes on disk of each stage."""
    rows = [
        [
            stage["stage"],
            format_bytes(stage["storage"]["checkpoint"]),
            f"{stage['storage']['kept']}",
            format_bytes(stage["storage"]["total"]),
            format_bytes(stage["storage"]["model"]),
        ]
        for stage in plan["stages"]
    ]
    return ["stage", "checkpoint", "at most", "together", "model in the end"], rows


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """What the tables rest on, one line each."""
    given = plan["assumptions"]
    by_stage = {stage["stage"]: stage["student"] for stage in plan["stages"]}
    student = by_stage.get("prune") or next(iter(by_stage.values()), None)
    lines = [f"recipe {plan['recipe']}, model {plan['model']}"]
    if student is not None:
        lines[0] += f" ({student['name']}, {student['parameters']:,} parameters, {student['prunable']:,} prunable)"
    precision = "bfloat16" if given["bfloat16"] else "float32"
    kind = given["kind"]
    if kind is not None and kind["peak_flops"] is not None:
        lines.append(
            f"time: an estimate, for {kind['name']} at {100 * given['utilisation']:g} % of its stated "
            f"{kind['peak_flops'] / 1e12:,.0f} TFLOP/s, at least {given['launch_seconds']:g} s "
            "a batch, exchange of gradients hidden behind the backward pass; --measure tells what it is"
        )
        if kind["source"] is not None:
            lines.append(f"rate: {kind['source']}")
    elif kind is not None:
        lines.append(f"device: {kind['name']}")
    for stage, seconds in given["batch_seconds"].items():
        lines.append(f"measured: {stage} takes {seconds:.3g} s a batch on this device; assumed: so it does on each")
    for stage, seconds in given["step_seconds"].items():
        lines.append(f"stated: {stage} takes {seconds:.3g} s a step")
    lines.append(f"memory: an estimate, by formula, products in {precision}")
    lines += [f"left out: {stage}: {why}" for stage, why in plan["left_out"].items()]
    return lines


def _time(seconds: float | None, devices: int) -> list[str]:
    return [MISSING, MISSING] if seconds is None else [_duration(seconds), f"{seconds * devices / 3600:,.1f}"]


def _duration(seconds: float) -> str:
    """Days from two on, hours from two on, minutes else."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"


def _peta(flops: float) -> str:
    value = flops / 1e15
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _counted(number: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number:.0f}"
