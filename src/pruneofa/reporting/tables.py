"""The comparison of models and the inspection of one, as rich tables for a terminal and as Markdown for anything else.

A rich table is fitted to the terminal's width; Markdown is never cut, which is what a pipe or a file needs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from pruneofa.reporting.data import ModelRow
from pruneofa.reporting.units import (
    MISSING,
    clean_text,
    format_bytes,
    format_percent,
    format_ratio,
    metric_label,
    metric_texts,
)

Grid = tuple[list[str], list[list[str]]]
"""Column headings and the rows of cells; the first column is text, the others are right-aligned."""


def comparison_grid(rows: Sequence[ModelRow]) -> Grid:
    """Headings and cells of the comparison, for any kind of output.

    In brackets behind the bytes of a model: how many times fewer they are than the first row's. Ratios: nominal
    counts the values alone (the paper's way), real counts every byte on disk.
    """
    headings = ["model"]
    columns: list[list[str]] = [[clean_text(row.name) for row in rows]]
    for key in dict.fromkeys(key for row in rows for key in row.metrics):
        texts, unit = metric_texts([row.metrics.get(key) for row in rows])
        headings.append(f"{metric_label(key)} {unit}".rstrip())
        columns.append(texts)
    headings += ["encoder sparsity %", "encoder bytes", "model bytes", "ratio nominal", "ratio real"]
    columns += [
        [format_percent(row.encoder_sparsity) for row in rows],
        _bytes_column([row.bytes_encoder for row in rows]),
        _bytes_column([row.bytes_total for row in rows]),
        [format_ratio(row.nominal_ratio) for row in rows],
        [format_ratio(row.real_ratio) for row in rows],
    ]
    return headings, [list(cells) for cells in zip(*columns, strict=True)]


def comparison_table(rows: Sequence[ModelRow]) -> Table:
    """The comparison as a rich table; names are shown as they are, never read as markup."""
    return rich_table(comparison_grid(rows))


def comparison_markdown(rows: Sequence[ModelRow]) -> str:
    """The comparison as a Markdown table at full width, ending with a line break."""
    return markdown_table(comparison_grid(rows))


def inspection_grid(inspection: Mapping[str, Any]) -> Grid:
    """Headings and cells, one row per tensor of an inspected model.

    Args:
        inspection: as `pruneofa inspect --json` prints it: `tensors` is a list of dictionaries with `name`, `shape`,
            `size`, `nonzero`, `sparsity`, `bytes`, `encoding`, `dtype` and `role`.
    """
    headings = ["tensor", "role", "shape", "weights", "non-zero", "sparsity %", "bytes", "dtype", "encoding"]
    cells = [
        [
            clean_text(str(tensor["name"])),
            clean_text(str(tensor.get("role") or MISSING)),
            " x ".join(str(extent) for extent in tensor["shape"]) or "scalar",
            f"{tensor['size']:,}",
            f"{tensor['nonzero']:,}",
            format_percent(tensor["sparsity"]),
            f"{tensor['bytes']:,}",
            clean_text(str(tensor["dtype"])),
            clean_text(str(tensor["encoding"])),
        ]
        for tensor in inspection["tensors"]
    ]
    return headings, cells


def inspection_table(inspection: Mapping[str, Any]) -> Table:
    """The tensors of an inspected model as a rich table, its totals as the caption (see `inspection_grid`)."""
    table = rich_table(inspection_grid(inspection), text_columns=(0, 1, 7, 8))
    table.caption = Text("\n".join(inspection_summary(inspection)), style="default")
    table.caption_justify = "left"
    return table


def inspection_markdown(inspection: Mapping[str, Any]) -> str:
    """The same as Markdown at full width, the totals below the table."""
    table = markdown_table(inspection_grid(inspection), text_columns=(0, 1, 7, 8))
    return table + "\n" + "\n".join(f"- {line}" for line in inspection_summary(inspection)) + "\n"


def inspection_summary(inspection: Mapping[str, Any]) -> list[str]:
    """The totals of an inspected model, one line each."""
    kept, count = inspection["encoder_nonzero"], inspection["encoder_parameters"]
    lines = [
        f"encoder sparsity {format_percent(inspection['encoder_sparsity'])} % "
        f"({kept:,} of {count:,} weights are not zero)",
        f"bytes: encoder {inspection['bytes_encoder']:,} ({format_bytes(inspection['bytes_encoder'])}), "
        f"model {inspection['bytes_total']:,} ({format_bytes(inspection['bytes_total'])})",
        f"ratio of the encoder: nominal {format_ratio(inspection['nominal_ratio'])} (values alone), "
        f"real {format_ratio(inspection['real_ratio'])} (bytes on disk)",
    ]
    if bound := inspection.get("entropy_bound_bytes"):
        scales = inspection["bytes_scales"]
        times = (inspection["bytes_encoder"] - scales) / bound
        lines.append(
            f"entropy of the encoder's positions and values {bound:,.0f} bytes; it takes {times:.3f} times that, "
            f"and {scales:,} bytes of scales"
        )
    return lines


def headline(rows: Sequence[ModelRow]) -> str:
    """The outcome in one sentence: the last row against the first."""
    if not rows:
        return "No model has been measured yet."
    first, last = rows[0], rows[-1]
    key = next((key for key in last.metrics if key in first.metrics), None)
    if len(rows) == 1 or first.bytes_encoder == last.bytes_encoder:
        sentence = f"{format_bytes(last.bytes_encoder)} for the encoder"
    else:
        sentence = f"{format_bytes(last.bytes_encoder)} instead of {format_bytes(first.bytes_encoder)} for the encoder"
    if key is not None:
        (before, after), unit = metric_texts([first.metrics[key], last.metrics[key]])
        before, after = (f"{text} {unit}".rstrip() for text in (before, after))
        sentence += f", {after}" if len(rows) == 1 else f", {after} instead of {before}"
        sentence += f" {metric_label(key)}"
    return sentence + "."


def markdown_table(grid: Grid, text_columns: Sequence[int] = (0,)) -> str:
    """A GitHub-flavoured Markdown table, its columns padded so that it reads as plain text too.

    Args:
        grid: headings and cells; characters that Markdown or HTML would act on are escaped.
        text_columns: indices of the left-aligned columns.
    """
    headings, rows = grid
    table = [[escape_markdown(cell) for cell in cells] for cells in [headings, *rows]]
    widths = [max(3, *(len(cells[i]) for cells in table)) for i in range(len(headings))]
    rule = ["-" * width if i in text_columns else "-" * (width - 1) + ":" for i, width in enumerate(widths)]

    def line(cells: list[str]) -> str:
        padded = [
            cell.ljust(width) if i in text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |\n"

    return line(table[0]) + line(rule) + "".join(line(cells) for cells in table[1:])


def escape_markdown(text: str) -> str:
    """`text` on one line, with the characters that Markdown or HTML would act on escaped."""
    return "".join(f"\\{c}" if c in "\\|<>`*[]" else c for c in clean_text(text))


def _bytes_column(counts: list[int]) -> list[str]:
    """Each count in human units, and how many times smaller than the first it is, where that says something."""
    texts = []
    for count in counts:
        ratio = counts[0] / count if count else 1.0
        texts.append(format_bytes(count) + (f" ({ratio:.1f}x)" if ratio >= 1.05 else ""))
    return texts


def rich_table(grid: Grid, text_columns: Sequence[int] = (0,)) -> Table:
    """A grid as a rich table; cells are shown as they are, never read as markup."""
    headings, rows = grid
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for i, heading in enumerate(headings):
        table.add_column(Text(heading), justify="left" if i in text_columns else "right", overflow="fold")
    for cells in rows:
        table.add_row(*(Text(cell) for cell in cells))
    return table
