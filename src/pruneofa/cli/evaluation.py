"""The command evaluate: one model on a task, or two evaluations side by side."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pruneofa.cli.options import (
    TASK_FLAGS,
    DataDir,
    Json,
    LabelColumn,
    MaxLength,
    OnError,
    OptionalRecipe,
    Overwrite,
    PairColumn,
    Set,
    TaskName,
    TextColumn,
    ValidationFile,
    recipe_keys,
)

_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add this command to `app`."""
    example = "pruneofa evaluate model.pofa --validation_file dev.csv --output_dir runs/evaluation"
    app.command("evaluate", epilog=f"Example: {example}")(evaluate)


def evaluate(
    model: Annotated[str | None, typer.Argument(help="Model folder, hub name, or compressed file.")] = None,
    recipe: OptionalRecipe = None,
    output_dir: Annotated[Path | None, typer.Option("--output_dir", help="Folder to write.")] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--compare", metavar="A B", help="Compare two evaluations (their folders or files of predictions) instead."
        ),
    ] = None,
    validation_file: ValidationFile = None,
    data_dir: DataDir = None,
    task_name: TaskName = None,
    text_column: TextColumn = None,
    text_pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    max_length: MaxLength = None,
    on_error: OnError = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks",
            metavar="A,B",
            help="Judge embeddings instead (similarity, classification, retrieval): names of files or folders in "
            "--data_dir.",
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="With --tasks: a second model, such as the dense one.")
    ] = None,
    engine: Annotated[bool, typer.Option("--engine", help="Compute with the engine in place of PyTorch.")] = False,
    overrides: Set = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Metrics and predictions of one model, as JSON files in the folder; with --compare, how two models differ.

    With --tasks the quality of embeddings by MTEB's protocol, beside another model's.
    """
    from pruneofa.cli.output import print_json, quiet_libraries
    from pruneofa.cli.stages import stage_recipe
    from pruneofa.errors import ConfigurationError

    if compare is not None:
        if model is not None:
            raise ConfigurationError(f"--compare: names both models itself; leave {model!r} out")
        _compare(*compare, output_dir, as_json)
        return
    if tasks is not None:
        _judge_embeddings(model, tasks, data_dir, against, output_dir, as_json)
        return
    if against is not None:
        raise ConfigurationError("--against: needs --tasks; two evaluations of a task are compared with --compare")
    if model is None or output_dir is None:
        missing = "MODEL: name the model" if model is None else "--output_dir: name the folder to write"
        raise ConfigurationError(f"{missing}, or give two evaluations with --compare")
    from pruneofa.cli.inputs import check_model, check_recipe
    from pruneofa.recipe.document import required_task

    check_model(model)
    given: dict[str, Any] = {"train_file": validation_file, "validation_file": validation_file, "data_dir": data_dir}
    given |= {"text_column": text_column, "text_pair_column": text_pair_column, "label_column": label_column}
    given |= {"task_name": task_name, "max_length": max_length, "on_error": on_error}
    settings = recipe_keys(TASK_FLAGS, "evaluate", given)
    loaded = stage_recipe("evaluate", recipe, model, settings, overrides)
    task = required_task(loaded)
    check_recipe(loaded, ("task",))
    from pruneofa.stages.evaluate import evaluate_into

    quiet_libraries()
    metrics = evaluate_into(output_dir, model, task, engine=engine, overwrite=overwrite)
    if as_json:
        print_json(metrics)
        return
    for name, value in metrics.items():
        typer.echo(f"{name}: {value:.4f}")
    typer.echo(f"evaluate: {output_dir}")


def _judge_embeddings(
    model: str | None, tasks: str, data_dir: str | None, against: str | None, output_dir: Path | None, as_json: bool
) -> None:
    from pruneofa.atomic import write_json
    from pruneofa.cli.output import print_json
    from pruneofa.errors import ConfigurationError
    from pruneofa.evaluation.embedding_evaluation import evaluate_embeddings
    from pruneofa.evaluation.scoring import TaskScore

    if model is None or data_dir is None:
        missing = "MODEL: name the model" if model is None else "--data_dir: name the folder of the tasks' files"
        raise ConfigurationError(f"--tasks: {missing}")

    def tell(path: str, score: TaskScore) -> None:
        if not as_json:
            typer.echo(f"{path}: {score.task} {score.metric} {score.score:.4f} ({len(score.values):,} examples)")

    names = [name.strip() for name in tasks.split(",")]
    document = evaluate_embeddings(model, names, Path(data_dir), against=against, progress=tell)
    if output_dir is not None:
        write_json(output_dir / "embeddings.json", document)
    if as_json:
        print_json(document)
    elif against is not None:
        for row in document["recovery"]["tasks"]:
            typer.echo(f"{row['task']}: {_kept(row['ratio'])}")
        typer.echo(f"mean of {len(names)} tasks: {_kept(document['recovery']['mean_ratio'])}")


def _kept(interval: dict[str, float]) -> str:
    """A ratio with its interval, in percent."""
    value, low, high = (100 * interval[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % kept (95 % interval {low:.1f} to {high:.1f})"


def _compare(first: str, second: str, output_dir: Path | None, as_json: bool) -> None:
    from pruneofa.atomic import write_json
    from pruneofa.cli.output import print_json
    from pruneofa.data.metrics.predictions import compare

    compared = compare(first, second)
    document = {"first": first, "second": second, "splits": [split.as_dict() for split in compared]}
    if output_dir is not None:
        write_json(output_dir / "comparison.json", document)
    if as_json:
        print_json(document)
        return
    for split in compared:
        _print_split(split)
    if output_dir is not None:
        typer.echo(f"comparison: {output_dir / 'comparison.json'}")


def _print_split(split: Any) -> None:
    """Metrics with their intervals, who is right how often, and some disagreements."""
    typer.echo(f"{split.split}: {split.examples:,} examples")
    for metric in split.metrics:
        typer.echo(
            f"  {metric.metric}: {metric.first:.4f} -> {metric.second:.4f}, difference {metric.difference:+.4f}, "
            f"{100 * metric.level:g} % interval {metric.low:+.4f} to {metric.high:+.4f} (paired bootstrap)"
        )
    if split.counts:
        right = ", ".join(f"{name} {count:,}" for name, count in split.counts.items())
        typer.echo(f"  right: {right}")
    typer.echo(f"  predictions differ in {len(split.disagreements):,} examples")
    for entry in split.disagreements[:_SHOWN]:
        given = entry.get("question", entry.get("text"))
        text = " | ".join(given) if isinstance(given, list) else str(given)
        truth = entry.get("label", entry.get("answers"))
        typer.echo(f"    {text[:100]!r}: first {entry['first']!r}, second {entry['second']!r}, right {truth!r}")
