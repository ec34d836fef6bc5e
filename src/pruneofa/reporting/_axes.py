"""Axes in the report's look, placed in CSS pixels from the figure's top left corner."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pruneofa.reporting import _svg
from pruneofa.reporting.units import clean_text

SMALL = 11.0


def add_axes(drawn: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes with a quiet frame: grid lines along y, no spines but the base line."""
    total_width, total_height = (72 * inches for inches in drawn.get_size_inches())
    axes = drawn.add_axes(
        (left / total_width, 1 - (top + height) / total_height, width / total_width, height / total_height)
    )
    axes.patch.set_alpha(0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_svg.MUTED)
    axes.spines["bottom"].set_linewidth(0.8)
    axes.tick_params(colors=_svg.MUTED, labelsize=SMALL, length=0, pad=5)
    axes.grid(axis="y", color=_svg.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def bare_axes(drawn: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes without frame, ticks and grid whose data coordinates are CSS pixels, y downwards."""
    axes = add_axes(drawn, left, top, width, height)
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return axes


def write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    *,
    colour: str = _svg.INK,
    align: str = "left",
    vertical: str = "center",
    size: float = SMALL,
    bold: bool = False,
    limit: int | None = None,
) -> None:
    """Write `text` as it is (a `$` starts no formula), on one line, shortened to `limit` characters."""
    axes.text(
        x,
        y,
        clean_text(text, limit),
        color=colour,
        ha=align,
        va=vertical,
        fontsize=size,
        fontweight="bold" if bold else "normal",
        parse_math=False,
    )


def number_axis(axes: Axes, percent: bool = False, ticks: int = 4) -> None:
    """Few, short labels along y: `0.5`, `5e-5`, or percent of fractions."""
    axes.yaxis.set_major_locator(MaxNLocator(nbins=ticks, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent_text(value) if percent else short(value)))


def percent_text(value: float) -> str:
    """A fraction as a tick label in percent."""
    return f"{100 * value:.6g} %"


def short(value: float) -> str:
    """A tick label: `0.25`, `1,000`, `5e-5`."""
    if abs(value) < 1e-15:
        return "0"
    if abs(value) < 0.001 or abs(value) >= 1e6:
        mantissa, _, exponent = f"{value:.3e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:,.6g}" if abs(value) < 1000 else f"{value:,.0f}"


def legend(axes: Axes, labels: Sequence[str]) -> None:
    """The legend in one line above the axes, at the right."""
    if not labels:
        return
    box = axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncol=len(labels),
        frameon=False,
        fontsize=SMALL,
        handlelength=1.2,
        handletextpad=0.5,
        columnspacing=1.0,
        borderpad=0.2,
        borderaxespad=0.1,
        labelcolor=_svg.MUTED,
    )
    for text in box.get_texts():
        text.set_parse_math(False)
