"""The report's pictures: curves of a stage, sparsity of every tensor, bytes and metrics of the models."""

import dataclasses
import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Affine2D, Transform

from pruneofa.reporting import _axes, _svg
from pruneofa.reporting.data import Curve, ModelRow
from pruneofa.reporting.units import clean_text, format_bytes, metric_label, metric_texts

WIDTH = 460.0
"""Natural width of every picture in CSS pixels: legible on a phone, two beside each other on a desk."""

MAXIMUM_POINTS = 800
"""Longest line that is drawn as it is; a longer one keeps the extremes of each interval."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """One figure: its caption, what it shows in words (for readers who cannot see it), and the `<svg>` element."""

    title: str
    description: str
    svg: str


@dataclasses.dataclass(frozen=True)
class _Panel:
    title: str
    lines: list[tuple[str, str]]  # (key, label)
    percent: bool = False


_TIMING = ("runtime", "per_second", "preparation_time", "flos", "num_")


def curve_picture(curve: Curve, prefix: str) -> Picture | None:
    """What a stage logged, as panels over a shared axis of steps; None if it logged nothing that is drawn.

    Args:
        curve: keys as transformers' Trainer logs them; loss, metrics, learning rate and sparsity each have a panel.
        prefix: begins the ids in the picture, unique on a page.
    """
    panels = _panels(curve)
    if not panels:
        return None
    height, gap, top, left = 104.0, 36.0, 26.0, 54.0
    drawn = _svg.figure(WIDTH, top + len(panels) * (height + gap) + 4)
    last = max(curve.steps)
    first = min(curve.steps) if last > min(curve.steps) and min(curve.steps) > last / 4 else 0
    words = []
    for i, panel in enumerate(panels):
        axes = _axes.add_axes(drawn, left, top + i * (height + gap), WIDTH - left - 14, height)
        for j, (key, label) in enumerate(panel.lines):
            words.append(_draw_line(axes, curve, key, label, j))
        axes.set_xlim(first, last if last > first else first + 1)
        if panel.title in ("learning rate", "sparsity"):
            # Both are quantities with a zero; a hair's breadth below it keeps a line at zero in sight.
            axes.set_ylim(bottom=-0.02 * axes.get_ylim()[1])
        _axes.number_axis(axes, panel.percent)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _axes.short(value)))
        axes.tick_params(labelbottom=i == len(panels) - 1)
        axes.text(
            -left, height + 7, panel.title, transform=_pixels(axes, height), color=_svg.INK, fontsize=_svg.FONT_SIZE
        )
        _axes.legend(axes, [label for _, label in panel.lines] if len(panel.lines) > 1 else [])
        if i == len(panels) - 1:
            axes.set_xlabel("step", color=_svg.MUTED, fontsize=_axes.SMALL, labelpad=3)
    description = f"Curves of stage {clean_text(curve.stage)} over {last:,} steps: " + "; ".join(words)
    return Picture(clean_text(curve.stage), description, _svg.inline_svg(drawn, prefix, description))


def size_picture(rows: Sequence[ModelRow], prefix: str) -> Picture | None:
    """Bytes of each model on disk as a bar, the encoder's part set off; None without rows."""
    if not rows:
        return None
    pitch, top = 46.0, 24.0
    height = top + pitch * len(rows)
    drawn = _svg.figure(WIDTH, height)
    axes = _axes.bare_axes(drawn, 0, 0, WIDTH, height)
    largest = max(1, *(row.bytes_total for row in rows))
    _key(axes, 0, _svg.SERIES[0], "encoder")
    _key(axes, 84, _svg.HEAT[3], "embeddings, head, everything else")
    for i, row in enumerate(rows):
        y = top + pitch * i
        whole = f"{format_bytes(row.bytes_encoder)} of {format_bytes(row.bytes_total)}"
        _axes.write(axes, 0, y + 12, row.name, limit=38, size=_svg.FONT_SIZE)
        _axes.write(axes, WIDTH, y + 12, whole, align="right", colour=_svg.MUTED)
        encoder = WIDTH * min(row.bytes_encoder, row.bytes_total) / largest
        _bar(axes, 0, y + 22, WIDTH * row.bytes_total / largest, _svg.HEAT[3])
        _bar(axes, 0, y + 22, encoder, _svg.SERIES[0])
    words = "; ".join(
        f"{clean_text(row.name)}: encoder {format_bytes(row.bytes_encoder)}, model {format_bytes(row.bytes_total)}"
        for row in rows
    )
    description = f"Bytes on disk. {words}"
    return Picture("Bytes on disk", description, _svg.inline_svg(drawn, prefix, description))


def metric_picture(rows: Sequence[ModelRow], key: str, prefix: str) -> Picture | None:
    """One metric of each model as a dot on a scale that spans the values; None if no row has it."""
    having = [row for row in rows if key in row.metrics and math.isfinite(row.metrics[key])]
    if not having:
        return None
    values = [row.metrics[key] for row in having]
    texts, unit = metric_texts(values)
    pitch, top, bottom = 46.0, 4.0, 28.0
    height = top + pitch * len(having) + bottom
    drawn = _svg.figure(WIDTH, height)
    axes = _axes.add_axes(drawn, 8, top, WIDTH - 16, pitch * len(having))
    axes.set_ylim(pitch * len(having), 0)
    axes.set_yticks([])
    low, high = _span(values, unit)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: _axes.percent_text(value) if unit else _axes.short(value))
    )
    axes.grid(axis="x", color=_svg.GRID, linewidth=0.8)
    names = _axes.bare_axes(drawn, 0, 0, WIDTH, height)
    for i, (row, text) in enumerate(zip(having, texts, strict=True)):
        y = pitch * i
        colour = _svg.SERIES[0] if i else _svg.MUTED
        axes.plot([low, high], [y + 32, y + 32], color=_svg.TRACK, linewidth=4, solid_capstyle="butt", zorder=1.5)
        axes.plot(
            [row.metrics[key]], [y + 32], marker="o", markersize=10, color=colour, markeredgewidth=0, clip_on=False
        )
        _axes.write(names, 0, top + y + 14, row.name, limit=38, size=_svg.FONT_SIZE)
        _axes.write(names, WIDTH, top + y + 14, f"{text} {unit}".rstrip(), align="right", bold=i == len(having) - 1)
    words = "; ".join(f"{clean_text(row.name)} {text} {unit}".rstrip() for row, text in zip(having, texts, strict=True))
    title = metric_label(key)
    description = f"{title}: {words}"
    return Picture(title[:1].upper() + title[1:], description, _svg.inline_svg(drawn, prefix, description))


def thin(steps: Sequence[int], values: Sequence[float], limit: int = MAXIMUM_POINTS) -> tuple[list[int], list[float]]:
    """At most `limit` of the points, with the lowest and the highest of each interval, so that no peak is lost."""
    if len(steps) <= limit:
        return list(steps), list(values)
    buckets = max(1, (limit - 2) // 2)
    inner = len(steps) - 2
    kept = {0, len(steps) - 1}
    for i in range(buckets):
        interval = range(1 + i * inner // buckets, 1 + (i + 1) * inner // buckets)
        if interval:
            kept.update((min(interval, key=values.__getitem__), max(interval, key=values.__getitem__)))
    return [steps[i] for i in sorted(kept)], [values[i] for i in sorted(kept)]


def _panels(curve: Curve) -> list[_Panel]:
    """The panels for which something was logged, from top to bottom."""
    logged = [key for key in curve.series if curve.points(key)[0]]
    parts = [key for key in logged if key.startswith("loss/")]
    loss_labels = {"loss": "training", "eval_loss": "evaluation"}
    loss = [(key, loss_labels[key]) for key in loss_labels if key in logged]
    loss += [(key, clean_text(key.removeprefix("loss/"), 16)) for key in parts]
    metrics = [
        (key, clean_text(metric_label(key), 16))
        for key in logged
        if key.startswith("eval_") and key != "eval_loss" and not any(word in key for word in _TIMING)
    ]
    fractions = all(abs(value) <= 1 for key, _ in metrics for value in curve.points(key)[1])
    sparsity = [
        (key, label) for key, label in (("sparsity/actual", "actual"), ("sparsity/target", "target")) if key in logged
    ]
    rate = [("learning_rate", "learning rate")] if "learning_rate" in logged else []
    title = metrics[0][1] if len(metrics) == 1 else "evaluation"
    panels = [
        _Panel("loss", loss[: len(_svg.SERIES)]),
        _Panel(title, metrics[: len(_svg.SERIES)], fractions),
        _Panel("learning rate", rate),
        _Panel("sparsity", sparsity, percent=True),
    ]
    return [panel for panel in panels if panel.lines]


def _draw_line(axes: Axes, curve: Curve, key: str, label: str, index: int) -> str:
    """Draw one series and return it in words."""
    steps, values = curve.points(key)
    marked = key.startswith("eval_") or len(steps) == 1
    dashed = key == "sparsity/target"
    x, y = thin(steps, values)
    axes.plot(
        x,
        y,
        # A leading underscore would hide a label from the legend.
        label=label.lstrip("_") or "series",
        color=_svg.SERIES[index % len(_svg.SERIES)],
        linewidth=1.3,
        # Many noisy points must not hide the few of an evaluation.
        zorder=3 if marked else 2,
        linestyle=(0, (4, 2.5)) if dashed else "-",
        marker="o" if marked else None,
        markersize=4.5,
        markeredgewidth=0,
        solid_joinstyle="round",
        # The last point lies on the frame.
        clip_on=False,
    )
    return f"{clean_text(key)} from {_axes.short(values[0])} to {_axes.short(values[-1])}"


def _pixels(axes: Axes, height: float) -> Transform:
    """Transform from CSS pixels, counted from the axes' lower left corner, to the canvas."""
    width = axes.get_position().width * WIDTH
    return Affine2D().scale(1 / width, 1 / height) + axes.transAxes


def _span(values: Sequence[float], unit: str) -> tuple[float, float]:
    """A range around `values` that leaves room at both ends and never is empty."""
    low, high = min(values), max(values)
    room = max(0.35 * (high - low), 0.01 if unit else 0.01 * max(1.0, abs(high)))
    return (max(0.0, low - room) if low >= 0 else low - room), (min(1.0, high + room) if unit else high + room)


def _bar(axes: Axes, x: float, y: float, width: float, colour: str, height: float = 12.0) -> None:
    if width > 0:
        # A sliver of one pixel still shows that there is something.
        axes.add_patch(Rectangle((x, y), max(width, 1.0), height, facecolor=colour, linewidth=0))


def _key(axes: Axes, x: float, colour: str, text: str) -> None:
    axes.add_patch(Rectangle((x, 3), 10, 10, facecolor=colour, linewidth=0))
    _axes.write(axes, x + 15, 8, text, colour=_svg.MUTED)
