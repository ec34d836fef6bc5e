"""The command predict: answers for a file of texts, by the engine."""

from pathlib import Path
from typing import Annotated

import typer

from pruneofa.cli.options import PairColumn, TextColumn


def register(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command("predict", epilog="Example: pruneofa predict model.pofa reviews.csv --output labels.jsonl")(predict)


def predict(
    model: Annotated[str, typer.Argument(help="Compressed file, model folder, or package:MODULE/FOLDER.")],
    file: Annotated[
        str,
        typer.Argument(
            help="Texts without labels: CSV, TSV (no quoting), JSON lines, Parquet, or text files, one text a line; "
            "a glob or a folder of them."
        ),
    ],
    output: Annotated[
        str,
        typer.Option("--output", help="File to write: .jsonl, .csv or .parquet; - for JSON lines on standard output."),
    ] = "-",
    text_column: TextColumn = None,
    text_pair_column: PairColumn = None,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Cores (default: those that `pruneofa doctor` shows).")
    ] = None,
) -> None:
    """Labels with scores, answers to questions (columns question and context), entities, or vectors, by the engine.

    One record for each row, in the same order; all of them are written, or nothing.
    """
    import sys

    from pruneofa.data.sources.packaged import PACKAGE_PREFIX, packaged_path
    from pruneofa.data.sources.reading import read_rows
    from pruneofa.errors import CheckpointError

    path = packaged_path(model) if model.startswith(PACKAGE_PREFIX) else Path(model)
    if not path.exists():
        raise CheckpointError(f"model {model!r}: there is no such file or folder; give a .pofa file or a model folder")
    read_rows(file)  # sees that it is there
    from pruneofa.cli.progress import counter
    from pruneofa.engine.engine import Engine
    from pruneofa.serving.predict import check_output, predict_file

    if output != "-":
        check_output(Path(output), file)
    with counter(file) as report:
        count = predict_file(
            Engine.load(path, threads=threads),
            file,
            sys.stdout.buffer if output == "-" else Path(output),
            text_column=text_column,
            text_pair_column=text_pair_column,
            progress=report,
        )
    if output != "-":
        typer.echo(f"{output}: {count:,} rows")
