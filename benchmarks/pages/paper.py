"""The paper's own figures as the table of results, beside what was measured here."""

from collections.abc import Iterable, Mapping
from typing import Any

from pruneofa.recipe.published import PublishedRow, published_rows
from pruneofa.reporting.tables import Grid

NOT_RUN = "not run here: needs weights / data"


def published_grid(measured: Iterable[Mapping[str, Any]] = ()) -> Grid:
    """Headings and cells: a row for each of the paper's models and tasks, the paper's figure and what was measured.

    Args:
        measured: documents with `row` (a recipe's name), `metrics` (shares of one) and, where it is so, `partial`.
    """
    found = {document["row"]: document for document in measured}
    headings = ["model", "sparsity %", "form", "task", "metrics", "paper %", "here %"]
    cells = []
    for row in published_rows():
        names = {"squad": "EM/F1", "mnli": "matched/mismatched", "qqp": "accuracy/F1"}.get(row.task, "accuracy")
        cells.append(
            [
                row.model,
                f"{100 * row.sparsity:.0f}",
                "int8" if row.int8 else "float32",
                row.task_label,
                names,
                row.text,
                _measured(row, found.get(row.recipe)),
            ]
        )
    return headings, cells


def _measured(row: PublishedRow, document: Mapping[str, Any] | None) -> str:
    if document is None:
        return NOT_RUN
    keys = row.figures or document["metrics"]
    text = "/".join(f"{100 * document['metrics'][key]:.2f}" for key in keys)
    return f"{text} (partial data)" if document.get("partial") else text
