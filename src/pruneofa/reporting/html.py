"""One self-contained HTML page of a run: nothing on it is fetched, everything on it is escaped."""

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pruneofa.reporting.bench import answers_grid, speed_grid
from pruneofa.reporting.data import ReportData
from pruneofa.reporting.figures import Picture, curve_picture, metric_picture, size_picture
from pruneofa.reporting.heatmap import sparsity_pictures
from pruneofa.reporting.tables import Grid, comparison_grid, headline
from pruneofa.reporting.units import clean_text, format_percent, format_seconds

MAXIMUM_METRIC_PICTURES = 4
"""More metrics than this are in the comparison table alone."""


def render_report(data: ReportData) -> str:
    """The page as text; write it as UTF-8. The same data give the same page, byte for byte.

    It makes no request of any kind (its Content-Security-Policy forbids them), needs no script, follows the reader's
    light or dark scheme, and prints.

    Args:
        data: the run. Its strings are shown as they are, whatever they hold.
    """
    environment = Environment(
        loader=PackageLoader("pruneofa.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(_context(data))
    # A file name that is not valid UTF-8 arrives as lone surrogates, which no page can hold.
    return page.encode("utf-8", "replace").decode("utf-8")


def _context(data: ReportData) -> dict[str, Any]:
    headings, cells = comparison_grid(data.rows)
    keys = list(dict.fromkeys(key for row in data.rows for key in row.metrics))
    outcome = [
        size_picture(data.rows, "size"),
        *(metric_picture(data.rows, key, f"metric{i}") for i, key in enumerate(keys[:MAXIMUM_METRIC_PICTURES])),
    ]
    curves = [curve_picture(curve, f"curve{i}") for i, curve in enumerate(data.curves)]
    return {
        "title": clean_text(data.title) or "Report",
        "headline": headline(data.rows),
        "headings": headings,
        "models": [{"cells": row_cells, "row": row} for row_cells, row in zip(cells, data.rows, strict=True)],
        "outcome": _figures(outcome),
        "speed": _table(speed_grid(data.speed)),
        "answers": _table(answers_grid(data.answers)),
        "curves": _figures(curves),
        "sparsity": _figures(sparsity_pictures(data.tensors, "tensors")),
        "tensors": [
            {
                "name": clean_text(tensor.name),
                "shape": " x ".join(str(extent) for extent in tensor.shape),
                "nonzero": f"{tensor.nonzero:,}",
                "size": f"{tensor.size:,}",
                "sparsity": format_percent(tensor.sparsity),
            }
            for tensor in data.tensors
        ],
        "stages": [
            {"name": stage.name, "seconds": format_seconds(stage.seconds), "status": stage.status}
            for stage in data.stages
        ],
        "total": format_seconds(sum(stage.seconds for stage in data.stages)),
        "facts": data.facts,
        "recipe": data.recipe_yaml,
        "notes": data.notes,
    }


def _table(grid: Grid) -> dict[str, Any]:
    headings, rows = grid
    return {"headings": headings, "rows": rows}


def _figures(pictures: Sequence[Picture | None]) -> list[dict[str, str]]:
    # The SVG comes from our own writer, which escapes the text in it.
    return [{"title": picture.title, "svg": Markup(picture.svg)} for picture in pictures if picture is not None]
