"""Pictures of results over tasks and seeds, as SVG files that read on a light and on a dark page."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from pruneofa.reporting import _axes, _svg

_PANEL_WIDTH, _PANEL_HEIGHT, _GAP, _LEFT, _TOP, _BOTTOM = 200.0, 150.0, 34.0, 48.0, 30.0, 44.0


@dataclass(frozen=True)
class Point:
    """A mean at some sparsity with its spread over seeds, all shares of one."""

    sparsity: float
    mean: float
    spread: float


@dataclass(frozen=True)
class Line:
    """One variant's points."""

    label: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Panel:
    """One task's lines."""

    title: str
    lines: Sequence[Line]


def lines_figure(panels: Sequence[Panel], columns: int = 3) -> str:
    """A panel for each task: its metric over sparsity, a line for each variant, seeds as error bars."""
    labels = list(dict.fromkeys(line.label for panel in panels for line in panel.lines))
    rows = -(-len(panels) // columns)
    across = min(columns, max(1, len(panels)))
    width = _LEFT + across * _PANEL_WIDTH + (across - 1) * (_GAP + 14) + 12
    drawn = _svg.opaque_figure(width, _TOP + rows * (_PANEL_HEIGHT + _GAP + 30) + 20 * len(labels) + 6)
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        left = _LEFT + column * (_PANEL_WIDTH + _GAP + 14)
        top = _TOP + row * (_PANEL_HEIGHT + _GAP + 30)
        axes = _axes.add_axes(drawn, left, top, _PANEL_WIDTH, _PANEL_HEIGHT)
        axes.set_title(panel.title, loc="left", fontsize=_axes.SMALL, color=_svg.INK, parse_math=False)
        ticks = sorted({point.sparsity for line in panel.lines for point in line.points})
        places = {sparsity: place for place, sparsity in enumerate(ticks)}  # evenly: 0 lies far from the others
        for line in panel.lines:
            shift = 0.04 * (labels.index(line.label) - (len(labels) - 1) / 2)  # so that bars don't hide each other
            colour = _svg.SERIES[labels.index(line.label) % len(_svg.SERIES)]
            axes.errorbar(
                [places[point.sparsity] + shift for point in line.points],
                [point.mean for point in line.points],
                yerr=[point.spread for point in line.points],
                color=colour,
                marker="o",
                markersize=4.5,
                linewidth=1.3,
                capsize=3,
                elinewidth=1.0,
            )
        axes.set_xticks(range(len(ticks)), [f"{100 * tick:.0f} %" for tick in ticks])
        axes.set_xlim(-0.3, len(ticks) - 0.7)
        _axes.number_axis(axes, percent=True)
    _keys(drawn, labels, _TOP + rows * (_PANEL_HEIGHT + _GAP + 30))
    return _svg.svg_file(drawn)


def bars_figure(tasks: Sequence[str], bars: Sequence[tuple[str, Sequence[tuple[float, float] | None]]]) -> str:
    """For each task a group of bars: the share of the dense metric that each variant keeps, with its spread.

    Args:
        tasks: their labels.
        bars: a variant's label, and for each task share and spread; None where it was not measured.
    """
    pitch, thin = 18.0 * (len(bars) + 1), 14.0
    width, top = 640.0, 10.0
    height = top + pitch * len(tasks)
    drawn = _svg.opaque_figure(width, height + _BOTTOM + 20 * len(bars))
    axes = _axes.add_axes(drawn, 200, top, width - 260, height)
    shares = [value[0] - value[1] for _, values in bars for value in values if value is not None]
    highest = [value[0] + value[1] for _, values in bars for value in values if value is not None]
    low = max(0.0, min([0.95, *shares]) - 0.03)
    axes.set_xlim(low, max([1.01, *highest]) + 0.01)
    axes.set_ylim(height, 0)
    axes.set_yticks([])
    axes.grid(axis="x", color=_svg.GRID, linewidth=0.8)
    axes.axvline(1.0, color=_svg.MUTED, linewidth=1.0)
    names = _axes.bare_axes(drawn, 0, top, width, height)
    for i, task in enumerate(tasks):
        _axes.write(names, 0, pitch * i + pitch / 2 - 6, task, limit=34)
        for j, (_, values) in enumerate(bars):
            value, y = values[i], pitch * i + 18.0 * j + 10
            if value is None:
                continue
            colour = _svg.SERIES[j % len(_svg.SERIES)]
            axes.barh(y, value[0] - low, left=low, height=thin, color=colour, alpha=1.0 if j < 4 else 0.55)
            axes.errorbar(value[0], y, xerr=value[1], color=_svg.INK, capsize=3, elinewidth=1.0)
            _axes.write(names, width, y, f"{100 * value[0]:.1f} %", align="right")
    axes.xaxis.set_major_formatter(lambda value, _: _axes.percent_text(value))
    _keys(drawn, [label for label, _ in bars], height + _BOTTOM - 6)
    return _svg.svg_file(drawn)


def _keys(drawn: Figure, labels: Sequence[str], top: float) -> None:
    """What each colour stands for, one line each."""
    width, height = (72 * inches for inches in drawn.get_size_inches())
    axes = _axes.bare_axes(drawn, 0, 0, width, height)
    for i, label in enumerate(labels):
        y = top + 20 * i
        axes.plot([_LEFT, _LEFT + 18], [y, y], color=_svg.SERIES[i % len(_svg.SERIES)], linewidth=3)
        _axes.write(axes, _LEFT + 26, y, label)
