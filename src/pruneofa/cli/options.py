"""Flags that several commands share, in Hugging Face's style."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A shipped recipe's name (see `pruneofa recipes`) or a YAML file.")
]
OptionalRecipe = Annotated[
    str | None, typer.Argument(metavar="RECIPE", help="A shipped recipe's name or a YAML file; else the defaults.")
]
OutputDir = Annotated[Path, typer.Option("--output_dir", help="Folder to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite_output_dir", help="Replace what another run left in the folder.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe; repeatable.")
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model_name_or_path",
        help="Folder, hub name, package:MODULE/FOLDER, or compressed file (*.pofa) of the model to start from.",
    ),
]
Teacher = Annotated[str | None, typer.Option("--teacher_name_or_path", help="The dense teacher.")]
CorpusDir = Annotated[Path, typer.Option("--corpus_dir", help="What `pruneofa corpus` wrote.")]
Resume = Annotated[
    Path | None,
    typer.Option("--resume_from_checkpoint", help="Continue from this one (default: the latest sound one, if any)."),
]
Seed = Annotated[
    int | None, typer.Option("--seed", help="Random seed of training (that of splits is task.split_seed).")
]
LearningRate = Annotated[float | None, typer.Option("--learning_rate", help="Highest learning rate.")]
Epochs = Annotated[float | None, typer.Option("--num_train_epochs", help="Passes over the data.")]
MaxSteps = Annotated[int | None, typer.Option("--max_steps", help="Optimizer steps, instead of epochs.")]
BatchSize = Annotated[int | None, typer.Option("--per_device_train_batch_size", help="Examples in a batch.")]
TrainFile = Annotated[
    str | None,
    typer.Option(
        "--train_file",
        help="CSV, TSV, JSON (lines, an array, SQuAD's), Parquet or Arrow (text also as .gz, .bz2, .xz, .zst); a glob, "
        "a folder or FOLDER:SPLIT; or hub:NAME:SPLIT.",
    ),
]
ValidationFile = Annotated[
    str | None,
    typer.Option("--validation_file", help="What the finished model is evaluated on; same formats as --train_file."),
]
DataDir = Annotated[
    str | None, typer.Option("--data_dir", help="Folder with a public task's own files, instead of the two above.")
]
TaskName = Annotated[
    str | None,
    typer.Option("--task_name", help="A public task (squad, squad_v2, mnli, qqp, qnli, sst2), or any name for yours."),
]
TextColumn = Annotated[str | None, typer.Option("--text_column", help="Column of the text (default: text).")]
PairColumn = Annotated[str | None, typer.Option("--text_pair_column", help="Column of a pair's second text.")]
LabelColumn = Annotated[str | None, typer.Option("--label_column", help="Column of the label (default: label).")]
OnError = Annotated[
    str | None,
    typer.Option(
        "--on_error",
        help="A row that can't be used: stop, or drop (left out, counted, listed). Default: stop; for questions drop.",
    ),
]
MaxLength = Annotated[int | None, typer.Option("--max_length", help="Longest example in tokens.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]

Flags = Mapping[str, tuple[Any, str | None]]
"""Name of a flag -> its type, and the recipe key that it sets; "{stage}" is the section of the command's own name."""

TASK_FLAGS: Flags = {
    "train_file": (TrainFile, "task.train"),
    "validation_file": (ValidationFile, "task.evaluation"),
    "data_dir": (DataDir, "task.data_dir"),
    "task_name": (TaskName, "task.task_name"),
    "text_column": (TextColumn, "task.text_column"),
    "text_pair_column": (PairColumn, "task.text_pair_column"),
    "label_column": (LabelColumn, "task.label_column"),
    "max_length": (MaxLength, "task.max_length"),
    "on_error": (OnError, "task.on_error"),
}
TRAINING_FLAGS: Flags = {
    "learning_rate": (LearningRate, "{stage}.training.learning_rate"),
    "num_train_epochs": (Epochs, "{stage}.training.num_train_epochs"),
    "max_steps": (MaxSteps, "{stage}.training.max_steps"),
    "per_device_train_batch_size": (BatchSize, "{stage}.training.per_device_train_batch_size"),
    "seed": (Seed, "seed"),
}


def recipe_keys(flags: Flags, stage: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Recipe key -> value of what the flags were given."""
    return {key.format(stage=stage): given[name] for name, (_, key) in flags.items() if key is not None}
