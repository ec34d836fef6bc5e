"""How commands show their results: tables on a terminal, whole lines in a pipe, JSON when asked."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.console import Console

from pruneofa.reporting.data import ModelRow
from pruneofa.reporting.tables import (
    comparison_markdown,
    comparison_table,
    inspection_markdown,
    inspection_summary,
    inspection_table,
)


def print_comparison(rows: Sequence[ModelRow]) -> None:
    """The table of a run's models."""
    if not rows:
        return
    console = Console()
    if console.is_terminal:
        console.print(comparison_table(rows))
    else:
        typer.echo(comparison_markdown(rows), nl=False)


def print_inspection(inspection: Mapping[str, Any]) -> None:
    """The table of a model's tensors, and its totals."""
    console = Console()
    if not console.is_terminal:
        typer.echo(inspection_markdown(inspection), nl=False)  # with the totals
        return
    console.print(inspection_table(inspection))
    for line in inspection_summary(inspection):
        typer.echo(line)


def print_json(value: Any) -> None:
    """`value` as JSON, alone on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def quiet_libraries() -> None:
    """Keep the libraries' own bars and load reports from drowning what this package says; not with --verbose."""
    if logging.getLogger().isEnabledFor(logging.INFO):
        return
    import datasets
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
