"""One command for each stage: corpus, teach, prune, finetune, transfer, quantize, evaluate."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pruneofa.cli.options import (
    BatchSize,
    CorpusDir,
    Epochs,
    Json,
    LabelColumn,
    LearningRate,
    MaxLength,
    MaxSteps,
    Model,
    OptionalRecipe,
    OutputDir,
    Overwrite,
    PairColumn,
    Resume,
    Seed,
    Set,
    TaskName,
    Teacher,
    TextColumn,
    TrainFile,
    ValidationFile,
)

_EXAMPLES = {
    "corpus": "pruneofa corpus demo --output_dir runs/corpus",
    "teach": "pruneofa teach demo --corpus_dir runs/corpus --output_dir runs/teach",
    "prune": "pruneofa prune demo --model_name_or_path runs/teach --corpus_dir runs/corpus --output_dir runs/prune",
    "finetune": "pruneofa finetune --model_name_or_path runs/teach --train_file train.csv --validation_file dev.csv "
    "--output_dir runs/teacher",
    "transfer": "pruneofa transfer --model_name_or_path runs/prune --teacher_name_or_path runs/teacher "
    "--train_file train.csv --validation_file dev.csv --output_dir runs/transfer",
    "quantize": "pruneofa quantize --model_name_or_path runs/transfer --teacher_name_or_path runs/teacher "
    "--train_file train.csv --validation_file dev.csv --output_dir runs/int8",
    "evaluate": "pruneofa evaluate model.pofa --validation_file dev.csv --output_dir runs/evaluation",
}


# Recipe keys that flags set; "{stage}" is the section of the command's own name.
_FLAGS = {
    "model.name_or_path": "--model_name_or_path",
    "seed": "--seed",
    "{stage}.training.learning_rate": "--learning_rate",
    "{stage}.training.num_train_epochs": "--num_train_epochs",
    "{stage}.training.max_steps": "--max_steps",
    "{stage}.training.per_device_train_batch_size": "--per_device_train_batch_size",
    "prune.sparsity.target_sparsity": "--target_sparsity",
}
_CORPUS_FLAGS = {"corpus.source": "--train_file", "corpus.max_length": "--max_length"}
_TASK_FLAGS = {
    "task.train": "--train_file",
    "task.evaluation": "--validation_file",
    "task.task_name": "--task_name",
    "task.text_column": "--text_column",
    "task.text_pair_column": "--text_pair_column",
    "task.label_column": "--label_column",
    "task.max_length": "--max_length",
}


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    for function in (corpus, teach, prune, finetune, transfer, quantize, evaluate):
        app.command(function.__name__, epilog=f"Example: {_EXAMPLES[function.__name__]}")(function)


def corpus(
    output_dir: OutputDir,
    recipe: OptionalRecipe = None,
    model: Model = None,
    train_file: Annotated[
        str | None, typer.Option("--train_file", help="Text, JSON lines, CSV or TSV; a glob or a folder too.")
    ] = None,
    max_length: MaxLength = None,
    seed: Seed = None,
    overrides: Set = None,
    overwrite: Overwrite = False,
) -> None:
    """Text -> packed examples for masked language modelling."""
    settings = {"seed": seed, "corpus.source": train_file, "corpus.max_length": max_length}
    _run("corpus", recipe, model, settings, overrides, output_dir, overwrite, inputs={"model": model})


def teach(
    output_dir: OutputDir,
    corpus_dir: CorpusDir,
    recipe: OptionalRecipe = None,
    model: Model = None,
    learning_rate: LearningRate = None,
    num_train_epochs: Epochs = None,
    max_steps: MaxSteps = None,
    batch_size: BatchSize = None,
    seed: Seed = None,
    overrides: Set = None,
    overwrite: Overwrite = False,
    checkpoint: Resume = None,
) -> None:
    """Teacher preparation: the dense model goes on pre-training on the corpus."""
    settings = _training("teach", learning_rate, num_train_epochs, max_steps, batch_size, seed)
    inputs = {"model": model, "corpus": corpus_dir, "checkpoint": checkpoint}
    _run("teach", recipe, model, settings, overrides, output_dir, overwrite, inputs=inputs)


def prune(
    output_dir: OutputDir,
    corpus_dir: CorpusDir,
    recipe: OptionalRecipe = None,
    model: Model = None,
    teacher: Teacher = None,
    target_sparsity: Annotated[
        float | None, typer.Option("--target_sparsity", help="Share of zeros in the end.")
    ] = None,
    learning_rate: LearningRate = None,
    num_train_epochs: Epochs = None,
    max_steps: MaxSteps = None,
    batch_size: BatchSize = None,
    seed: Seed = None,
    overrides: Set = None,
    overwrite: Overwrite = False,
    checkpoint: Resume = None,
) -> None:
    """Student pruning: sparsity, learning-rate rewinding and distillation at once; the teacher is the dense model."""
    settings = _training("prune", learning_rate, num_train_epochs, max_steps, batch_size, seed)
    settings["prune.sparsity.target_sparsity"] = target_sparsity
    inputs = {"dense": model, "corpus": corpus_dir, "teacher": teacher, "checkpoint": checkpoint}
    _run("prune", recipe, model, settings, overrides, output_dir, overwrite, inputs=inputs)


def finetune(
    output_dir: OutputDir,
    recipe: OptionalRecipe = None,
    model: Model = None,
    train_file: TrainFile = None,
    validation_file: ValidationFile = None,
    task_name: TaskName = None,
    text_column: TextColumn = None,
    text_pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    max_length: MaxLength = None,
    learning_rate: LearningRate = None,
    num_train_epochs: Epochs = None,
    max_steps: MaxSteps = None,
    batch_size: BatchSize = None,
    seed: Seed = None,
    overrides: Set = None,
    overwrite: Overwrite = False,
    checkpoint: Resume = None,
) -> None:
    """The dense model learns the task: the teacher of transfer and quantize."""
    settings = _training("finetune", learning_rate, num_train_epochs, max_steps, batch_size, seed)
    settings |= _task(train_file, validation_file, task_name, text_column, text_pair_column, label_column, max_length)
    inputs = {"dense": model, "checkpoint": checkpoint}
    _run("finetune", recipe, model, settings, overrides, output_dir, overwrite, inputs=inputs)


def _learns_from_teacher(stage: str, start: str, summary: str) -> Callable[..., None]:
    """The command of a stage that trains a sparse model on the task: `transfer` and `quantize` have the same flags.

    Args:
        stage: its name.
        start: name of the artefact that `--model_name_or_path` stands for.
        summary: the first line of its help.
    """

    def command(
        output_dir: OutputDir,
        recipe: OptionalRecipe = None,
        model: Model = None,
        teacher: Teacher = None,
        train_file: TrainFile = None,
        validation_file: ValidationFile = None,
        task_name: TaskName = None,
        text_column: TextColumn = None,
        text_pair_column: PairColumn = None,
        label_column: LabelColumn = None,
        max_length: MaxLength = None,
        learning_rate: LearningRate = None,
        num_train_epochs: Epochs = None,
        max_steps: MaxSteps = None,
        batch_size: BatchSize = None,
        seed: Seed = None,
        overrides: Set = None,
        overwrite: Overwrite = False,
        checkpoint: Resume = None,
    ) -> None:
        settings = _training(stage, learning_rate, num_train_epochs, max_steps, batch_size, seed)
        settings |= _task(
            train_file, validation_file, task_name, text_column, text_pair_column, label_column, max_length
        )
        inputs = {start: model, "task_teacher": teacher, "checkpoint": checkpoint}
        _run(stage, recipe, model, settings, overrides, output_dir, overwrite, inputs=inputs)

    command.__name__, command.__doc__ = stage, summary
    return command


transfer = _learns_from_teacher(
    "transfer",
    "sparse",
    "The sparse model learns the task with its zeros locked, from a dense teacher (or from labels alone).",
)
quantize = _learns_from_teacher(
    "quantize",
    "task_model",
    "Quantization-aware training of a sparse task model to int8, zeros locked and teacher on.",
)


def evaluate(
    model: Annotated[str, typer.Argument(help="Model folder, hub name, or compressed file.")],
    output_dir: OutputDir,
    recipe: OptionalRecipe = None,
    validation_file: ValidationFile = None,
    text_column: TextColumn = None,
    text_pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    max_length: MaxLength = None,
    overrides: Set = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Metrics and predictions of one model, as JSON files in the folder."""
    from pruneofa.cli.output import print_json, quiet_libraries
    from pruneofa.stages.evaluate import evaluate_into
    from pruneofa.stages.task_training import required_task

    settings = _task(validation_file, validation_file, None, text_column, text_pair_column, label_column, max_length)
    task = required_task(_recipe("evaluate", recipe, model, settings, overrides))
    quiet_libraries()
    metrics = evaluate_into(output_dir, model, task, overwrite=overwrite)
    if as_json:
        print_json(metrics)
        return
    for name, value in metrics.items():
        typer.echo(f"{name}: {value:.4f}")


def _training(
    section: str,
    learning_rate: float | None,
    num_train_epochs: float | None,
    max_steps: int | None,
    batch_size: int | None,
    seed: int | None,
) -> dict[str, Any]:
    """Recipe keys of the flags of a training stage. One kind of length takes the place of the other."""
    keys: dict[str, Any] = {
        "seed": seed,
        f"{section}.training.learning_rate": learning_rate,
        f"{section}.training.per_device_train_batch_size": batch_size,
    }
    if max_steps is not None or num_train_epochs is not None:
        keys[f"{section}.training"] = {"max_steps": max_steps, "num_train_epochs": num_train_epochs}
    return keys


def _task(
    train_file: str | None,
    validation_file: str | None,
    task_name: str | None,
    text_column: str | None,
    text_pair_column: str | None,
    label_column: str | None,
    max_length: int | None,
) -> dict[str, Any]:
    return {
        "task.train": train_file,
        "task.evaluation": validation_file,
        "task.task_name": task_name,
        "task.text_column": text_column,
        "task.text_pair_column": text_pair_column,
        "task.label_column": label_column,
        "task.max_length": max_length,
    }


def _recipe(
    stage: str, recipe: str | None, model: str | None, settings: dict[str, Any], overrides: list[str] | None
) -> Any:
    """The recipe named, or the defaults, with what the flags and --set say."""
    from pruneofa.recipe_files import recipe_with

    given = {key: value for key, value in settings.items() if value is not None}
    if model is not None:
        given["model.name_or_path"] = model
    flags = {path.format(stage=stage): flag for path, flag in _FLAGS.items()}
    flags |= _CORPUS_FLAGS if stage == "corpus" else _TASK_FLAGS
    return recipe_with(recipe, given, overrides or (), default_name=stage, flags=flags)


def _run(
    stage: str,
    recipe: str | None,
    model: str | None,
    settings: dict[str, Any],
    overrides: list[str] | None,
    output_dir: Path,
    overwrite: bool,
    inputs: dict[str, Any],
) -> None:
    from pruneofa.cli.output import quiet_libraries
    from pruneofa.pipeline import STAGES
    from pruneofa.stages.execution import execute

    loaded = _recipe(stage, recipe, model, settings, overrides)
    given = {name: str(value) for name, value in inputs.items() if value is not None}
    for name in ("model", "dense", "sparse", "task_model"):
        if name in inputs:
            given.setdefault(name, loaded.model.name_or_path)
    quiet_libraries()
    record = execute(STAGES[stage], loaded, given, output_dir, replace_stale=overwrite)
    for name, value in record.results.items():
        if isinstance(value, int | float):
            typer.echo(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}")
    typer.echo(f"{stage}: {output_dir}")
