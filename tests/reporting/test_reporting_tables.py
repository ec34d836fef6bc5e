import dataclasses
import io
from typing import Any

from rich.console import Console
from rich.table import Table

from pruneofa.reporting import tables
from pruneofa.reporting.data import ModelRow, ReportData

INSPECTION: dict[str, Any] = {
    "encoder_sparsity": 0.75,
    "encoder_parameters": 16,
    "encoder_nonzero": 4,
    "bytes_encoder": 1500,
    "bytes_total": 2_500_000,
    "nominal_ratio": 16.0,
    "real_ratio": None,
    "tensors": [
        {
            "name": "encoder.layer.0.attention.self.query.weight",
            "shape": [4, 4],
            "size": 16,
            "nonzero": 4,
            "sparsity": 0.75,
            "bytes": 1500,
            "encoding": "bitmask",
            "dtype": "int8",
            "role": "q",
        },
        {
            "name": "embeddings[red]",
            "shape": [],
            "size": 1,
            "nonzero": 1,
            "sparsity": 0.0,
            "bytes": 4,
            "encoding": "dense",
            "dtype": "float32",
            "role": None,
        },
    ],
}


def _printed(table: Table, width: int = 300) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def _row(report: ReportData, **changes: Any) -> ModelRow:
    return dataclasses.replace(report.rows[0], **changes)


def test_comparison_grid_holds_the_measured_values(report: ReportData) -> None:
    headings, rows = tables.comparison_grid(report.rows)
    assert headings == [
        "model", "accuracy %", "encoder sparsity %", "encoder bytes", "model bytes", "ratio nominal", "ratio real",
    ]  # fmt: skip
    assert rows[0] == ["dense", "83.0", "0.00", "42.5 MB", "90.8 MB", "1.0x", "1.0x"]
    assert rows[2] == ["sparse int8", "79.9", "85.00", "3.1 MB (13.6x)", "51.4 MB (1.8x)", "26.7x", "13.6x"]


def test_terminal_and_markdown_show_the_same_cells(report: ReportData) -> None:
    printed, markdown = _printed(tables.comparison_table(report.rows)), tables.comparison_markdown(report.rows)
    for cells in tables.comparison_grid(report.rows)[1]:
        for cell in cells:
            assert cell in printed
            assert cell in markdown


def test_a_narrow_terminal_loses_no_character(report: ReportData) -> None:
    rows = [_row(report, name="m" * 150), *report.rows]
    printed = _printed(tables.comparison_table(rows), width=80)
    assert printed.count("m") - _printed(tables.comparison_table(report.rows), width=80).count("m") == 150
    assert "\u2026" not in printed
    assert max(len(line) for line in printed.splitlines()) <= 80


def test_markdown_is_never_cut_and_lines_up(report: ReportData) -> None:
    text = tables.comparison_markdown([_row(report, name="m" * 300), *report.rows])
    assert "m" * 300 in text
    assert len({len(line) for line in text.splitlines()}) == 1


def test_markup_and_markdown_in_names_are_text(report: ReportData) -> None:
    row = _row(report, name="[bold]a[/bold] | <b>\x1b[31m\nx")
    assert "[bold]a[/bold] | <b>\ufffd[31m x" in _printed(tables.comparison_table([row]))
    text = tables.comparison_markdown([row])
    assert r"\[bold\]a\[/bold\] \| \<b\>" in text
    assert len(text.splitlines()) == 3


def test_rows_with_different_metrics_and_no_ratio(report: ReportData) -> None:
    rows = [
        _row(report, metrics={"f1": 88.4}, nominal_ratio=None, bytes_encoder=0),
        _row(report, metrics={"eval_accuracy": 0.5}),
    ]
    headings, cells = tables.comparison_grid(rows)
    assert headings[1:3] == ["f1", "accuracy %"]
    assert [row[1:3] for row in cells] == [["88.4", "-"], ["-", "50.0"]]
    assert cells[0][4] == "0 B"
    assert cells[0][6] == "-"


def test_no_rows_still_make_a_table() -> None:
    assert tables.comparison_markdown([]).startswith("| model | encoder sparsity % |")
    assert "model" in _printed(tables.comparison_table([]))


def test_headline_compares_the_last_row_with_the_first(report: ReportData) -> None:
    assert tables.headline(report.rows) == (
        "3.1 MB instead of 42.5 MB for the encoder, 79.9 % instead of 83.0 % accuracy."
    )
    assert tables.headline(report.rows[:1]) == "42.5 MB for the encoder, 83.0 % accuracy."
    assert tables.headline([]) == "No model has been measured yet."
    bare = [dataclasses.replace(row, metrics={}) for row in report.rows]
    assert tables.headline(bare) == "3.1 MB instead of 42.5 MB for the encoder."


def test_inspection_shows_every_tensor_and_the_totals() -> None:
    for text in (_printed(tables.inspection_table(INSPECTION)), tables.inspection_markdown(INSPECTION)):
        assert "encoder.layer.0.attention.self.query.weight" in text
        for part in ("4 x 4", "75.00", "1,500", "bitmask", "int8", "scalar"):
            assert part in text
        assert "encoder sparsity 75.00 % (4 of 16 weights are not zero)" in text
        assert "encoder 1,500 (1.5 kB), model 2,500,000 (2.5 MB)" in text
        assert "nominal 16.0x (values alone), real - (bytes on disk)" in text
    assert "embeddings[red]" in _printed(tables.inspection_table(INSPECTION))
