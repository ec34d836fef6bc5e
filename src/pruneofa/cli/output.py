"""How commands show their results: tables on a terminal, whole lines in a pipe, JSON when asked."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.console import Console

from pruneofa.reporting.data import ModelRow, ReportData
from pruneofa.reporting.tables import (
    comparison_markdown,
    comparison_table,
    inspection_markdown,
    inspection_table,
    markdown_table,
    rich_table,
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
    if console.is_terminal:
        console.print(inspection_table(inspection))
    else:
        typer.echo(inspection_markdown(inspection), nl=False)


def print_sensitivity(modules: Sequence[Mapping[str, Any]]) -> None:
    """The table of a model's modules by what their quantization costs."""
    from pruneofa.reporting.sensitivity import sensitivity_grid

    grid, console = sensitivity_grid(modules), Console()
    if console.is_terminal:
        console.print(rich_table(grid, text_columns=(0, 1)))
    else:
        typer.echo(markdown_table(grid), nl=False)


def print_one_shot(linears: Sequence[Any]) -> None:
    """The table of what one-shot pruning made of each layer."""
    from dataclasses import asdict

    from pruneofa.reporting.one_shot import one_shot_grid

    grid, console = one_shot_grid([asdict(linear) for linear in linears]), Console()
    if console.is_terminal:
        console.print(rich_table(grid))
    else:
        typer.echo(markdown_table(grid), nl=False)


def print_corpus(record: Mapping[str, Any], times: Mapping[str, Any] | None) -> None:
    """The table of what is in a corpus, and how it was made."""
    from pruneofa.reporting.corpus import corpus_grid, corpus_lines

    grid, console = corpus_grid(record), Console()
    if console.is_terminal:
        console.print(rich_table(grid))
    else:
        typer.echo(markdown_table(grid))
    for line in corpus_lines(record, times):
        typer.echo(line)


def print_seeds(summary: Mapping[str, Any]) -> None:
    """The table of several seeds."""
    from pruneofa.reporting.seeds import seeds_grid

    grid, console = seeds_grid(summary), Console()
    if console.is_terminal:
        console.print(rich_table(grid))
    else:
        typer.echo(markdown_table(grid), nl=False)


def print_outline(outline: Any) -> None:
    """What a recipe would do: its architecture, what is pruned of it, its stages and its schedule."""
    from pruneofa.recipe.published import published_text

    typer.echo(f"recipe:            {outline.recipe}")
    typer.echo(f"model:             {outline.model}, {outline.parameters:,} parameters")
    typer.echo(f"prunable weights:  {outline.encoder_weights:,} in {outline.encoder_tensors} tensors")
    if outline.pooler_weights:
        typer.echo(f"pooler:            {outline.pooler_weights:,}")
    if outline.pruned_weights is not None:
        typer.echo(f"zeros in the end:  {outline.pruned_weights:,}, masks selected {outline.reselections} times")
    typer.echo(f"published:         {published_text(outline.recipe)}")
    for stage in outline.stages:
        typer.echo(f"{stage.name + ':':<19}{stage.what}")
    if outline.moments:
        rows = [[f"{m.step:,}", f"{100 * m.sparsity:.2f}", f"{m.learning_rate:.3e}"] for m in outline.moments]
        typer.echo("")
        typer.echo(markdown_table((["pruning step", "sparsity %", "learning rate"], rows)), nl=False)


def print_plan(plan: Mapping[str, Any]) -> None:
    """What a recipe's training needs: its tables, and what they rest on."""
    from pruneofa.reporting import planning

    console = Console()
    for line in planning.plan_lines(plan):
        typer.echo(line)
    grids = {
        "work": (planning.work_grid(plan), (0,)),
        "memory of one device": (planning.memory_grid(plan), (0,)),
        "checkpoints": (planning.storage_grid(plan), (0,)),
        "time": (planning.time_grid(plan), (1, 3)),
    }
    for title, (grid, text_columns) in grids.items():
        if not grid[1]:
            continue
        typer.echo(f"\n{title}\n")
        if console.is_terminal:
            console.print(rich_table(grid, text_columns=text_columns))
        else:
            typer.echo(markdown_table(grid, text_columns=text_columns), nl=False)


def print_bench(document: Mapping[str, Any]) -> None:
    """The table of a benchmark, where it ran, and what it means."""
    from pruneofa.reporting.bench import TEXT_COLUMNS, bench_grid, bench_lines

    grid, console = bench_grid(document), Console()
    if console.is_terminal:
        console.print(rich_table(grid, text_columns=TEXT_COLUMNS))
    else:
        typer.echo(markdown_table(grid, text_columns=TEXT_COLUMNS))
    for line in bench_lines(document):
        typer.echo(line)


def print_speed(data: ReportData) -> None:
    """How fast a run's models are, and what the engine says of some texts, where that was measured."""
    from pruneofa.reporting.bench import answers_grid, speed_grid

    console = Console()
    for grid, text_columns in ((speed_grid(data.speed), (0, 1)), (answers_grid(data.answers, 60), (0, 1, 3))):
        if not grid[1]:
            continue
        if console.is_terminal:
            console.print(rich_table(grid, text_columns=text_columns))
        else:
            typer.echo(f"\n{markdown_table(grid, text_columns=text_columns)}", nl=False)


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
