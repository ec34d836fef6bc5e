"""A benchmark as a picture: for each shape and number of threads a panel with a bar for each runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pruneofa.atomic import replacing_file
from pruneofa.reporting import _axes, _svg
from pruneofa.reporting._svg import opaque_figure, svg_file
from pruneofa.reporting.bench import case_label, milliseconds

__all__ = ["bench_svg", "write_bench_figure"]

_PANEL, _GAP, _PITCH, _TOP, _COLUMNS = 330.0, 40.0, 34.0, 58.0, 3
_PNG_SCALE = 2
_OWN, _OTHER = _svg.SERIES[0], _svg.HEAT[3]


def write_bench_figure(document: Mapping[str, Any], path: Path) -> None:
    """Draw a benchmark into a `.png` or `.svg` file."""
    model = document["model"]
    title = f"{model['name']}, {100 * model['sparsity']:.0f} % zeros"
    drawn = _draw(title, _subtitle(document), document["cases"])
    with replacing_file(path) as temporary:
        if path.suffix == ".svg":
            temporary.write_text(svg_file(drawn), encoding="utf-8")
        else:
            drawn.savefig(temporary, format="png", dpi=72 * _PNG_SCALE, facecolor=drawn.get_facecolor())


def bench_svg(title: str, subtitle: str, cases: Sequence[Mapping[str, Any]]) -> str:
    """The same for a page, as an SVG file's text."""
    return svg_file(_draw(title, subtitle, cases))


def _subtitle(document: Mapping[str, Any]) -> str:
    machine = document["machine"]
    return (
        f"median ms of a call; less is better. {machine['processor']}, {machine['cores']} cores; {document['kernel']}"
    )


def _draw(title: str, subtitle: str, cases: Sequence[Mapping[str, Any]]) -> Figure:
    columns = max(1, min(_COLUMNS, len(cases)))
    most = max((len(case["rows"]) for case in cases), default=1)
    height = 30 + _PITCH * most
    lines = -(-len(cases) // columns)
    drawn = opaque_figure(max(520.0, columns * (_PANEL + _GAP)) + _GAP, _TOP + lines * (height + 14) + 10)
    whole = _axes.bare_axes(drawn, 0, 0, *(72 * inches for inches in drawn.get_size_inches()))
    _axes.write(whole, _GAP, 18, title, size=14.0, bold=True)
    _axes.write(whole, _GAP, 38, subtitle, colour=_svg.MUTED)
    for number, case in enumerate(cases):
        line, column = divmod(number, columns)
        left, top = _GAP + column * (_PANEL + _GAP), _TOP + line * (height + 14)
        _panel(drawn, case, left, top, height)
    return drawn


def _panel(drawn: Figure, case: Mapping[str, Any], left: float, top: float, height: float) -> None:
    """Bars from the quickest to the slowest; the first contestant's stands out."""
    axes = _axes.bare_axes(drawn, left, top, _PANEL, height)
    _axes.write(axes, 0, 14, f"{case_label(case)}", size=_svg.FONT_SIZE, bold=True)
    longest = max(row["median_seconds"] for row in case["rows"])
    own = case["rows"][0]
    for place, row in enumerate(sorted(case["rows"], key=lambda row: float(row["median_seconds"]))):
        y = 32 + _PITCH * place
        _axes.write(axes, 0, y + 4, f"{_model(own, row)}{row['name']} ({row['form']})", limit=50)
        width = max(1.0, (_PANEL - 96) * row["median_seconds"] / longest)
        axes.barh(y + 17, width, height=10, color=_OWN if row is own else _OTHER)
        text = milliseconds(row["median_seconds"]) + ("" if row is own else f" ({row['ratio']:.1f}x)")
        _axes.write(axes, width + 6, y + 17, text, bold=row is own)


def _model(own: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Which model it is, where not all have the same."""
    return "" if row["model"] == own["model"] else f"{row['model']}: "
