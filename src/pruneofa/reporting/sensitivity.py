"""Which module's quantization costs how much: as a table, and as a picture in files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from pruneofa.atomic import replacing_file
from pruneofa.reporting import _axes, _svg
from pruneofa.reporting.tables import Grid
from pruneofa.reporting.units import MISSING, clean_text

_WIDTH, _NAMES, _PITCH, _TOP, _BOTTOM = 860.0, 330.0, 20.0, 30.0, 42.0
_SMALLEST = 1e-12


def sensitivity_grid(rows: Sequence[Mapping[str, Any]]) -> Grid:
    """Headings and cells, one row per module.

    Args:
        rows: as `sensitivity.json` holds them: `name`, `kind`, `divergence`, `divergence_weights`, `loss_change`,
            `changed`.
    """
    headings = ["module", "kind", "divergence", "weights alone", "loss change", "answers changed %"]
    cells = [
        [
            clean_text(str(row["name"])),
            clean_text(str(row["kind"])),
            f"{row['divergence']:.3e}",
            f"{row['divergence_weights']:.3e}",
            MISSING if row["loss_change"] is None else f"{row['loss_change']:+.5f}",
            f"{100 * row['changed']:.2f}",
        ]
        for row in rows
    ]
    return headings, cells


def write_sensitivity_pictures(rows: Sequence[Mapping[str, Any]], *paths: Path) -> None:
    """Bars of the divergences on a logarithmic scale, the most sensitive at the top.

    Args:
        rows: as of `sensitivity_grid`, in the order to be drawn.
        paths: files to write; their endings (`.svg`, `.png`) say as what.
    """
    height = _TOP + _PITCH * len(rows) + _BOTTOM
    with mpl.rc_context({"font.family": "DejaVu Sans", "svg.hashsalt": "pruneofa"}):
        drawn = Figure(figsize=(_WIDTH / 72, height / 72), dpi=144)
        FigureCanvasAgg(drawn)
        _draw(drawn, rows, height)
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else None
            with replacing_file(path) as temporary:
                drawn.savefig(temporary, format=path.suffix[1:], facecolor="white", metadata=metadata)


def _draw(drawn: Figure, rows: Sequence[Mapping[str, Any]], height: float) -> None:
    names = _axes.bare_axes(drawn, 0, _TOP, _NAMES, _PITCH * len(rows))
    axes = _axes.add_axes(drawn, _NAMES + 10, _TOP, _WIDTH - _NAMES - 40, height - _TOP - _BOTTOM)
    together = [max(float(row["divergence"]), _SMALLEST) for row in rows]
    alone = [max(float(row["divergence_weights"]), _SMALLEST) for row in rows]
    low = min([value for value in (*together, *alone) if value > _SMALLEST], default=1e-6) / 2
    axes.set_xscale("log")
    axes.set_xlim(low, 2 * max(together, default=1.0))
    axes.set_ylim(len(rows), 0)
    axes.set_yticks([])
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=_svg.GRID, linewidth=0.8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _axes.short(value)))
    middles = [index + 0.5 for index in range(len(rows))]
    lefts = [low] * len(rows)
    for values, share, colour, label in (
        (together, 0.72, _svg.SERIES[0], "weight and activations"),
        (alone, 0.30, _svg.SERIES[1], "weight alone"),
    ):
        widths = [max(0.0, value - low) for value in values]
        axes.barh(middles, widths, height=share, left=lefts, color=colour, label=label)
    axes.set_xlabel(
        "divergence from the float model's answers when it alone is quantized (nats)",
        color=_svg.MUTED,
        fontsize=_axes.SMALL,
    )
    _axes.legend(axes, ["weight and activations", "weight alone"])
    for index, row in enumerate(rows):
        _axes.write(names, _NAMES, _PITCH * (index + 0.5), str(row["name"]), align="right", limit=52)
