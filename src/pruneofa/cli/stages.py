"""One command for each stage that trains: teach, prune, finetune, transfer, quantize."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pruneofa.cli.options import (
    BatchSize,
    CorpusDir,
    DataDir,
    Epochs,
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
    "teach": "pruneofa teach demo --corpus_dir runs/corpus --output_dir runs/teach",
    "prune": "pruneofa prune demo --model_name_or_path runs/teach --corpus_dir runs/corpus --output_dir runs/prune",
    "finetune": "pruneofa finetune --model_name_or_path runs/teach --train_file train.csv --validation_file dev.csv "
    "--output_dir runs/teacher",
    "transfer": "pruneofa transfer --model_name_or_path runs/prune --teacher_name_or_path runs/teacher "
    "--train_file train.csv --validation_file dev.csv --output_dir runs/transfer",
    "quantize": "pruneofa quantize --model_name_or_path runs/transfer --teacher_name_or_path runs/teacher "
    "--train_file train.csv --validation_file dev.csv --output_dir runs/int8",
}


# Recipe keys that flags set; "{stage}" is the section of the command's own name.
_FLAGS = {
    "model.name_or_path": "--model_name_or_path",
    "seed": "--seed",
    "{stage}.training.learning_rate": "--learning_rate",
    "quantize.calibration.examples": "--calibrate",
    "quantize.calibration.source": "--calibration_file",
    "{stage}.training.num_train_epochs": "--num_train_epochs",
    "{stage}.training.max_steps": "--max_steps",
    "{stage}.training.per_device_train_batch_size": "--per_device_train_batch_size",
    "prune.sparsity.target_sparsity": "--target_sparsity",
}
_CORPUS_FLAGS = {
    "corpus.source": "--train_file",
    "corpus.text_column": "--text_column",
    "corpus.form": "--form",
    "corpus.max_length": "--max_length",
}
_TASK_FLAGS = {
    "task.data_dir": "--data_dir",
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
    for function in (teach, prune, finetune, transfer, quantize):
        app.command(function.__name__, epilog=f"Example: {_EXAMPLES[function.__name__]}")(function)


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
    data_dir: DataDir = None,
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
    settings |= task_settings(
        train_file, validation_file, task_name, text_column, text_pair_column, label_column, max_length, data_dir
    )
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
        data_dir: DataDir = None,
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
        settings |= task_settings(
            train_file, validation_file, task_name, text_column, text_pair_column, label_column, max_length, data_dir
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


def quantize(
    output_dir: OutputDir,
    recipe: OptionalRecipe = None,
    model: Model = None,
    teacher: Teacher = None,
    calibrate: Annotated[
        int | None, typer.Option("--calibrate", help="Don't train: find the ranges on so many texts.")
    ] = None,
    calibration_file: Annotated[
        str | None,
        typer.Option("--calibration_file", help="Texts for that, without labels (default: the training examples)."),
    ] = None,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Write no model: rank its modules by what quantizing each costs.")
    ] = False,
    train_file: TrainFile = None,
    validation_file: ValidationFile = None,
    data_dir: DataDir = None,
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
    """A sparse task model to int8: trained with rounding, zeros locked and teacher on; or calibrated (--calibrate)."""
    without_training = sensitivity or calibrate is not None or calibration_file is not None
    if without_training:
        _refuse_training_flags(
            {
                "--learning_rate": learning_rate,
                "--num_train_epochs": num_train_epochs,
                "--max_steps": max_steps,
                "--per_device_train_batch_size": batch_size,
                "--resume_from_checkpoint": checkpoint,
            }
        )
        if text_column or text_pair_column or max_length:
            train_file = train_file or calibration_file  # columns and lengths are settings of a task
        validation_file = validation_file or train_file  # nothing is trained, so nothing is held back
    settings = _training("quantize", learning_rate, num_train_epochs, max_steps, batch_size, seed)
    settings |= task_settings(
        train_file, validation_file, task_name, text_column, text_pair_column, label_column, max_length, data_dir
    )
    settings |= {"quantize.calibration.examples": calibrate, "quantize.calibration.source": calibration_file}
    if without_training:
        settings["quantize.method"] = "calibration"
    inputs = {"task_model": model, "task_teacher": teacher, "checkpoint": checkpoint}
    if not sensitivity:
        results = _run("quantize", recipe, model, settings, overrides, output_dir, overwrite, inputs=inputs)
        typer.echo(results["quantization"]["text"])
        return
    from pruneofa.cli.output import print_sensitivity

    results = _run(
        "quantize", recipe, model, settings, overrides, output_dir, overwrite, inputs=inputs, runs="sensitivity"
    )
    print_sensitivity(results["modules"])


def _refuse_training_flags(flags: dict[str, Any]) -> None:
    """Raise if one of these flags is set where nothing is trained."""
    from pruneofa.errors import ConfigurationError

    given = [flag for flag, value in flags.items() if value is not None]
    if given:
        raise ConfigurationError(
            f"{given[0]}: nothing is trained with --calibrate, --calibration_file or --sensitivity; leave one out"
        )


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


def task_settings(
    train_file: str | None,
    validation_file: str | None,
    task_name: str | None,
    text_column: str | None,
    text_pair_column: str | None,
    label_column: str | None,
    max_length: int | None,
    data_dir: str | None = None,
) -> dict[str, Any]:
    """Recipe keys of the flags of a task."""
    return {
        "task.data_dir": data_dir,
        "task.train": train_file,
        "task.evaluation": validation_file,
        "task.task_name": task_name,
        "task.text_column": text_column,
        "task.text_pair_column": text_pair_column,
        "task.label_column": label_column,
        "task.max_length": max_length,
    }


def stage_recipe(
    stage: str, recipe: str | None, model: str | None, settings: dict[str, Any], overrides: list[str] | None
) -> Any:
    """The recipe named, or the defaults, with what the flags and --set say."""
    from pruneofa.recipe.files import recipe_with

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
    runs: str | None = None,
) -> dict[str, Any]:
    """Run a stage (or `runs`, with that stage's settings) and print its figures; returns its results."""
    from pruneofa.cli.output import quiet_libraries
    from pruneofa.workflow.execution import execute
    from pruneofa.workflow.stage_list import STAGES

    loaded = stage_recipe(stage, recipe, model, settings, overrides)
    given = {name: str(value) for name, value in inputs.items() if value is not None}
    for name in ("model", "dense", "sparse", "task_model"):
        if name in inputs:
            given.setdefault(name, loaded.model.name_or_path)
    quiet_libraries()
    chosen = STAGES[runs or stage]
    record = execute(chosen, loaded, given, output_dir, replace_stale=overwrite)
    for name, value in record.results.items():
        if isinstance(value, int | float):
            typer.echo(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}")
    typer.echo(f"{chosen.name}: {output_dir}")
    return dict(record.results)
