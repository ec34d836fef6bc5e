"""The command `corpus`: build one, say what is in it."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from pruneofa.cli.options import (
    Flags,
    MaxLength,
    Model,
    OptionalRecipe,
    OutputDir,
    Overwrite,
    Seed,
    Set,
    TextColumn,
    recipe_keys,
)
from pruneofa.cli.stages import stage_recipe

_TrainFile = Annotated[
    str | None,
    typer.Option(
        "--train_file",
        help="Text, JSON, CSV, TSV, a MediaWiki XML dump, WikiExtractor's files (also .gz, .bz2, .xz, .zst), Parquet, "
        "Arrow; a glob or a folder of them; FOLDER:SPLIT; hub:NAME.",
    ),
]
_Form = Annotated[
    str | None, typer.Option("--form", help="Form of the examples: blocks, pairs or sentences (default: blocks).")
]
_LineEnd = Annotated[
    str | None,
    typer.Option(
        "--line_end",
        help="What a line's end means: space (text runs on), sentence (it ends one), document (each line is one).",
    ),
]
_OnError = Annotated[
    str | None,
    typer.Option("--on_error", help="A row that can't be read: stop (default), or drop (left out, counted, listed)."),
]
_EXAMPLE = (
    "pruneofa corpus --model_name_or_path bert-base-uncased --train_file 'dump/*-pages-articles*.xml.bz2' "
    "--form pairs --max_length 512 --output_dir runs/wikipedia --stats"
)


_FLAGS: Flags = {
    "train_file": (_TrainFile, "corpus.source"),
    "text_column": (TextColumn, "corpus.text_column"),
    "form": (_Form, "corpus.form"),
    "line_end": (_LineEnd, "corpus.line_end"),
    "on_error": (_OnError, "corpus.on_error"),
    "max_length": (MaxLength, "corpus.max_length"),
    "seed": (Seed, "seed"),
}


def register(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command("corpus", epilog=f"Example: {_EXAMPLE}")(corpus)


def corpus(
    output_dir: OutputDir,
    recipe: OptionalRecipe = None,
    model: Model = None,
    train_file: _TrainFile = None,
    text_column: TextColumn = None,
    form: _Form = None,
    line_end: _LineEnd = None,
    on_error: _OnError = None,
    max_length: MaxLength = None,
    seed: Seed = None,
    num_proc: Annotated[
        int | None, typer.Option("--num_proc", min=1, help="Processes that work (default: one for each core).")
    ] = None,
    stats: Annotated[
        bool, typer.Option("--stats", help="Say what is in the corpus, and draw it; builds it only where it must.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --stats: print JSON alone.")] = False,
    overrides: Set = None,
    overwrite: Overwrite = False,
) -> None:
    """Text -> examples for pre-training, and what is in them."""
    from pruneofa.cli.output import print_corpus, print_json
    from pruneofa.data.pretraining.summary import corpus_record, has_corpus

    given = {"train_file": train_file, "text_column": text_column, "form": form, "max_length": max_length, "seed": seed}
    given |= {"line_end": line_end, "on_error": on_error}
    settings = recipe_keys(_FLAGS, "corpus", given)
    asked = any(value is not None for value in (recipe, model, overrides, *settings.values()))
    if not stats or asked or not has_corpus(output_dir):
        results = _build(recipe, model, settings, overrides, output_dir, overwrite, num_proc)
        if not stats:
            for name, value in results.items():
                if isinstance(value, int | float):
                    typer.echo(f"{name}: {value}")
            typer.echo(f"corpus: {output_dir}")
            return
    from pruneofa.reporting.corpus import write_corpus_picture

    record, times = corpus_record(output_dir)
    picture = write_corpus_picture(output_dir, record)
    if as_json:
        print_json({"settings": record["settings"], "statistics": record["statistics"], "times": times})
        return
    print_corpus(record, times)
    typer.echo(f"picture: {picture}")


def _build(
    recipe: str | None,
    model: str | None,
    settings: dict[str, Any],
    overrides: list[str] | None,
    output_dir: Path,
    overwrite: bool,
    num_proc: int | None,
) -> dict[str, Any]:
    from pruneofa.cli.inputs import check_recipe
    from pruneofa.cli.output import quiet_libraries
    from pruneofa.workflow.stage_list import STAGES

    loaded = stage_recipe("corpus", recipe, model, settings, overrides, _FLAGS)
    check_recipe(loaded, ("model", "corpus"))
    from pruneofa.stages.corpus import run
    from pruneofa.workflow.execution import execute

    quiet_libraries()
    stage = replace(STAGES["corpus"], run=partial(run, processes=num_proc))
    inputs = {"model": loaded.model.name_or_path}
    return execute(stage, loaded, inputs, output_dir, replace_stale=overwrite).results
