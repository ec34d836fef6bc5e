"""Sparsity of every tensor as pictures: layer by role where the names tell them, else one bar per tensor."""

import dataclasses
import math
import re
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from pruneofa.reporting import _axes, _svg
from pruneofa.reporting.data import TensorSparsity
from pruneofa.reporting.figures import WIDTH, Picture
from pruneofa.reporting.units import clean_text, format_percent

MAXIMUM_ROLES = 9
"""More columns than this would leave no room for the values in the cells."""

MAXIMUM_BARS = 120
"""Bars in one picture; what is beyond is in the table."""

_LAYER = re.compile(r"^(?P<stack>.*?)(?:^|\.)(?P<layer>\d{1,6})\.(?P<role>.+)$")
_FILLER = ("self", "dense", "weight", "lin", "linear")


@dataclasses.dataclass(frozen=True)
class _Stack:
    """The tensors of one stack of layers."""

    name: str
    layers: list[int]
    roles: list[str]
    cells: dict[tuple[int, str], TensorSparsity]


def sparsity_pictures(tensors: Sequence[TensorSparsity], prefix: str) -> list[Picture]:
    """One heat map (layer x role) per stack of layers, then bars for the tensors that belong to none.

    Args:
        tensors: any number, named as in the model's state dictionary.
        prefix: begins the ids in the pictures, unique on a page.
    """
    stacks, rest = _arrange(tensors)
    scale = _scale([tensor.sparsity for stack in stacks for tensor in stack.cells.values()])
    pictures = [_heat_map(stack, scale, f"{prefix}-{i}") for i, stack in enumerate(stacks)]
    if rest:
        pictures.append(_bars(rest, bool(stacks), f"{prefix}-bars"))
    return pictures


def role_labels(roles: Sequence[str]) -> dict[str, str]:
    """Short names of roles: the last telling part of each, or all telling parts where the last is not unique.

    `attention.self.query.weight` becomes `query`; `attention.output.dense.weight` beside `output.dense.weight` becomes
    `attention output`.
    """
    parts = {role: [part for part in role.split(".") if part not in _FILLER] or role.split(".") for role in roles}
    last = [words[-1] for words in parts.values()]
    labels = {role: words[-1] if last.count(words[-1]) == 1 else " ".join(words) for role, words in parts.items()}
    if len(set(labels.values())) < len(labels):
        return {role: role for role in roles}
    return labels


def _arrange(tensors: Sequence[TensorSparsity]) -> tuple[list[_Stack], list[TensorSparsity]]:
    """Sort tensors into stacks by name; a stack that is no grid, or too wide, goes to the rest."""
    found: dict[str, list[tuple[int, str, TensorSparsity]]] = {}
    rest: list[TensorSparsity] = []
    for tensor in tensors:
        match = _LAYER.match(tensor.name)
        if match is None:
            rest.append(tensor)
        else:
            found.setdefault(match["stack"], []).append((int(match["layer"]), match["role"], tensor))
    stacks = []
    for name, members in found.items():
        layers = sorted({layer for layer, _, _ in members})
        roles = list(dict.fromkeys(role for _, role, _ in members))
        cells = {(layer, role): tensor for layer, role, tensor in members}
        filled = len(cells) == len(members) and 2 * len(cells) >= len(layers) * len(roles)
        if filled and len(roles) <= MAXIMUM_ROLES:
            stacks.append(_Stack(name, layers, roles, cells))
        else:
            rest += [tensor for _, _, tensor in members]
    return stacks, rest


def _scale(values: Sequence[float]) -> tuple[float, float]:
    """The range of the colours: around the values, in steps of five points, at least ten points wide."""
    low = math.floor(20 * min(values, default=0.0) + 1e-9) / 20
    high = math.ceil(20 * max(values, default=1.0) - 1e-9) / 20
    if high - low < 0.1 - 1e-9:
        low, high = max(0.0, low - 0.05), min(1.0, high + 0.05)
    return low, high


def _heat_map(stack: _Stack, scale: tuple[float, float], prefix: str) -> Picture:
    left, top, row, gap = 36.0, 36.0, 26.0, 2.0
    legend = 44.0
    height = top + row * len(stack.layers) + legend
    column = (WIDTH - left) / len(stack.roles)
    drawn = _svg.figure(WIDTH, height)
    axes = _axes.bare_axes(drawn, 0, 0, WIDTH, height)
    labels = role_labels(stack.roles)
    for j, role in enumerate(stack.roles):
        _column_label(axes, left + column * (j + 0.5), top - 6, labels[role], column)
    _axes.write(axes, left - 8, top - 6, "layer", align="right", vertical="bottom", colour=_svg.MUTED, size=10)
    for i, layer in enumerate(stack.layers):
        y = top + row * i
        _axes.write(axes, left - 8, y + row / 2, str(layer), align="right", colour=_svg.MUTED)
        for j, role in enumerate(stack.roles):
            tensor = stack.cells.get((layer, role))
            if tensor is None:
                continue
            level = _level(tensor.sparsity, scale)
            axes.add_patch(
                Rectangle(
                    (left + column * j + gap / 2, y + gap / 2),
                    column - gap,
                    row - gap,
                    facecolor=_svg.HEAT[level],
                    linewidth=0,
                )
            )
            colour = _svg.HEAT_INK_HIGH if level >= 5 else _svg.HEAT_INK_LOW
            text = format_percent(tensor.sparsity, 2 if column >= 52 else 1)
            _axes.write(axes, left + column * (j + 0.5), y + row / 2, text, align="center", colour=colour)
    _colour_legend(axes, left, top + row * len(stack.layers) + 16, scale)
    values = [tensor.sparsity for tensor in stack.cells.values()]
    name = clean_text(stack.name, 60)
    description = (
        f"Sparsity of {len(values)} tensors{f' of {name}' if name else ''} by layer and role, "
        f"from {format_percent(min(values))} to {format_percent(max(values))} percent; the values are in the table."
    )
    return Picture(name or "layers", description, _svg.inline_svg(drawn, prefix, description))


def _bars(tensors: Sequence[TensorSparsity], beside_layers: bool, prefix: str) -> Picture:
    shown = tensors[:MAXIMUM_BARS]
    pitch = 34.0
    height = pitch * len(shown) + 4
    drawn = _svg.figure(WIDTH, height)
    axes = _axes.bare_axes(drawn, 0, 0, WIDTH, height)
    for i, tensor in enumerate(shown):
        y = pitch * i
        _axes.write(axes, 0, y + 10, tensor.name, limit=52)
        _axes.write(axes, WIDTH, y + 10, f"{format_percent(tensor.sparsity)} %", align="right", colour=_svg.MUTED)
        axes.add_patch(Rectangle((0, y + 19), WIDTH, 8, facecolor=_svg.TRACK, linewidth=0))
        if tensor.sparsity > 0:
            width = max(1.0, WIDTH * min(1.0, tensor.sparsity))
            axes.add_patch(Rectangle((0, y + 19), width, 8, facecolor=_svg.SERIES[0], linewidth=0))
    values = [tensor.sparsity for tensor in tensors]
    title = "Other tensors" if beside_layers else "Tensors"
    if len(shown) < len(tensors):
        title += f" (the first {len(shown)} of {len(tensors)}; all are in the table)"
    description = (
        f"Sparsity of {len(tensors)} tensors, from {format_percent(min(values))} to {format_percent(max(values))} "
        "percent; the values are in the table."
    )
    return Picture(title, description, _svg.inline_svg(drawn, prefix, description))


def _level(value: float, scale: tuple[float, float]) -> int:
    low, high = scale
    position = (value - low) / (high - low) if high > low else 1.0
    return min(len(_svg.HEAT) - 1, max(0, int(position * len(_svg.HEAT))))


def _column_label(axes: Axes, x: float, y: float, label: str, column: float) -> None:
    """A heading over a column, on two lines where it has two words."""
    words = clean_text(label).split(" ")
    middle = (len(words) + 1) // 2
    lines = [" ".join(words[:middle]), " ".join(words[middle:])]
    limit = max(4, int(column / 5.6))
    for text, offset in zip(reversed([line for line in lines if line]), (0, 13), strict=False):
        _axes.write(
            axes, x, y - offset, text, align="center", vertical="bottom", colour=_svg.MUTED, size=10, limit=limit
        )


def _colour_legend(axes: Axes, left: float, y: float, scale: tuple[float, float]) -> None:
    """What the colours stand for: the ramp, and the sparsity at its two ends."""
    for i, colour in enumerate(_svg.HEAT):
        axes.add_patch(Rectangle((left + 36 + 14 * i, y), 14, 10, facecolor=colour, linewidth=0))
    end = left + 36 + 14 * len(_svg.HEAT)
    _axes.write(axes, left + 30, y + 5, f"{100 * scale[0]:.0f} %", align="right", colour=_svg.MUTED)
    _axes.write(axes, end + 6, y + 5, f"{100 * scale[1]:.0f} % zeros", colour=_svg.MUTED)
