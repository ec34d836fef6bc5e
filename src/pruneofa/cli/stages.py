"""One command for each stage that trains, as the list of stages has them."""

import inspect
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pruneofa.cli.options import (
    TASK_FLAGS,
    TRAINING_FLAGS,
    CorpusDir,
    Flags,
    Model,
    OptionalRecipe,
    OutputDir,
    Overwrite,
    Resume,
    Set,
    Teacher,
    recipe_keys,
)
from pruneofa.workflow.stage_list import STAGES, TRAINING, Stage

_EXAMPLES = {
    "teach": "demo --corpus_dir runs/corpus --output_dir runs/teach",
    "prune": "demo --model_name_or_path runs/teach --corpus_dir runs/corpus --output_dir runs/prune",
    "prune_embedder": "minilm-embedder --model_name_or_path runs/one_shot --corpus_dir runs/corpus "
    "--output_dir runs/embedder",
    "finetune": "--model_name_or_path runs/teach --train_file train.csv --validation_file dev.csv "
    "--output_dir runs/teacher",
    "transfer": "--model_name_or_path runs/prune --teacher_name_or_path runs/teacher "
    "--train_file train.csv --validation_file dev.csv --output_dir runs/transfer",
    "quantize": "--model_name_or_path runs/transfer --teacher_name_or_path runs/teacher "
    "--train_file train.csv --validation_file dev.csv --output_dir runs/int8",
}
_Sparsity = Annotated[float | None, typer.Option("--target_sparsity", help="Share of zeros in the end.")]
_Calibrate = Annotated[int | None, typer.Option("--calibrate", help="Don't train: find the ranges on so many texts.")]
_CalibrationFile = Annotated[
    str | None,
    typer.Option("--calibration_file", help="Texts for that, without labels (default: the training examples)."),
]
_Sensitivity = Annotated[
    bool, typer.Option("--sensitivity", help="Write no model: rank its modules by what quantizing each costs.")
]
_Unlock = Annotated[
    bool | None, typer.Option("--unlock", help="Also train a sparse model, which becomes dense; else it is refused.")
]
_OWN_FLAGS: Mapping[str, Flags] = {
    "teach": {"unlock": (_Unlock, "teach.unlock")},
    "finetune": {"unlock": (_Unlock, "finetune.unlock")},
    "prune": {"target_sparsity": (_Sparsity, "prune.sparsity.target_sparsity")},
    "quantize": {
        "calibrate": (_Calibrate, "quantize.calibration.examples"),
        "calibration_file": (_CalibrationFile, "quantize.calibration.source"),
        "sensitivity": (_Sensitivity, None),
    },
}


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    for name in TRAINING:
        example = f"Example: pruneofa {name} {_EXAMPLES[name]}"
        app.command(name, help=STAGES[name].about, epilog=example)(_command(STAGES[name]))


def stage_recipe(
    stage: str,
    recipe: str | None,
    model: str | None,
    settings: Mapping[str, Any],
    overrides: list[str] | None,
    flags: Flags = TASK_FLAGS,
) -> Any:
    """The recipe named, or the defaults, with what the flags and --set say.

    Args:
        stage: names the recipe where none is given.
        recipe: a shipped one's name or a file.
        model: the model to start from.
        settings: recipe key -> value; None leaves it as it is.
        overrides: what --set says.
        flags: those that set recipe keys, for messages.
    """
    from pruneofa.recipe.files import recipe_with

    given = {key: value for key, value in settings.items() if value is not None}
    if model is not None:
        given["model.name_or_path"] = model
    names = {"model.name_or_path": "--model_name_or_path"}
    names |= recipe_keys(flags, stage, {name: f"--{name}" for name in flags})
    return recipe_with(recipe, given, overrides or (), default_name=stage, flags=names)


def _command(stage: Stage) -> Callable[..., None]:
    """A stage's command, with the flags of what it reads: a corpus, a teacher, a task."""
    start = stage.inputs[0]
    teacher = next((name.rstrip("?") for name in stage.inputs if "teacher" in name), None)
    shown: dict[str, Any] = {"output_dir": OutputDir}
    if "corpus" in stage.inputs:
        shown["corpus_dir"] = CorpusDir
    shown |= {"recipe": OptionalRecipe, "model": Model}
    if teacher is not None:
        shown["teacher"] = Teacher
    flags = {**_OWN_FLAGS.get(stage.name, {}), **(TASK_FLAGS if "task" in stage.sections else {}), **TRAINING_FLAGS}
    shown |= {name: annotation for name, (annotation, _) in flags.items()}
    shown |= {"overrides": Set, "overwrite": Overwrite, "checkpoint": Resume}

    def command(**given: Any) -> None:
        inputs = {start: given["model"], "corpus": given.get("corpus_dir"), "checkpoint": given["checkpoint"]}
        if teacher is not None:
            inputs[teacher] = given["teacher"]
        without = _without_training(given) if stage.name == "quantize" else {}
        settings = {**_settings(stage.name, flags, given), **without}
        recipe = stage_recipe(stage.name, given["recipe"], given["model"], settings, given["overrides"], flags)
        inputs[start] = inputs[start] or recipe.model.name_or_path
        runs = STAGES["sensitivity"] if given.get("sensitivity") else stage
        _run(runs, recipe, inputs, given["output_dir"], given["overwrite"])

    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=_default(name))
            for name, annotation in shown.items()
        ]
    )
    command.__annotations__ = shown
    return command


def _default(name: str) -> Any:
    """Of a parameter: a folder must be given, a switch is off, all else is left to the recipe."""
    if name in ("output_dir", "corpus_dir"):
        return inspect.Parameter.empty
    return False if name in ("overwrite", "sensitivity") else None


def _settings(stage: str, flags: Flags, given: Mapping[str, Any]) -> dict[str, Any]:
    """Recipe keys of the flags. One kind of a training's length takes the place of the other."""
    keys = recipe_keys(flags, stage, given)
    length = {name: keys.pop(f"{stage}.training.{name}") for name in ("max_steps", "num_train_epochs")}
    if any(value is not None for value in length.values()):
        keys[f"{stage}.training"] = length
    return keys


def _without_training(given: dict[str, Any]) -> dict[str, Any]:
    """Recipe keys more where quantize doesn't train; fills in what `given` leaves out then.

    Raises:
        ConfigurationError: a flag of training is given all the same.
    """
    from pruneofa.errors import ConfigurationError

    if not given["sensitivity"] and given["calibrate"] is None and given["calibration_file"] is None:
        return {}
    flags = {f"--{name}": given[name] for name in TRAINING_FLAGS if name != "seed"}
    flags["--resume_from_checkpoint"] = given["checkpoint"]
    named = [flag for flag, value in flags.items() if value is not None]
    if named:
        raise ConfigurationError(
            f"{named[0]}: nothing is trained with --calibrate, --calibration_file or --sensitivity; leave one out"
        )
    if given["text_column"] or given["text_pair_column"] or given["max_length"]:
        # Columns and lengths are settings of a task.
        given["train_file"] = given["train_file"] or given["calibration_file"]
    given["validation_file"] = given["validation_file"] or given["train_file"]  # nothing is held back
    return {"quantize.method": "calibration"}


def _run(stage: Stage, recipe: Any, inputs: Mapping[str, Any], output_dir: Path, overwrite: bool) -> None:
    """Run a stage and print its figures."""
    from pruneofa.cli.inputs import check_folder, check_model, check_recipe
    from pruneofa.cli.output import print_sensitivity, quiet_libraries

    for name, value in inputs.items():
        if name == "corpus":
            check_folder(value, "what `pruneofa corpus` wrote (--corpus_dir)")
        elif name == "checkpoint":
            check_folder(value, "a checkpoint of this stage (--resume_from_checkpoint)")
        else:
            check_model(None if value is None else str(value))
    check_recipe(recipe, stage.sections)
    from pruneofa.workflow.execution import execute

    quiet_libraries()
    given = {name: str(value) for name, value in inputs.items() if value is not None}
    results = execute(stage, recipe, given, output_dir, replace_stale=overwrite).results
    for name, value in results.items():
        if isinstance(value, int | float):
            typer.echo(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}")
    if stage.trains and "task" in stage.sections and (stage.name != "quantize" or _trains(recipe)):
        _print_metrics(results.get("validation", {}), output_dir, recipe)
    typer.echo(f"{stage.name}: {output_dir}")
    if "quantization" in results:
        typer.echo(results["quantization"]["text"])
    if stage.name == "sensitivity":
        print_sensitivity(results["modules"])


def _trains(recipe: Any) -> bool:
    """Whether `quantize` trains on the task, so that there is a task to evaluate on."""
    return recipe.quantize is None or recipe.quantize.method == "qat"


def _print_metrics(validation: dict[str, float], output_dir: Path, recipe: Any) -> None:
    """The metrics of a trained model on what was held out of training, and, by no choice, on the evaluation split."""
    import torch

    from pruneofa.ranks import on_first
    from pruneofa.recipe.document import required_task
    from pruneofa.stages.evaluate import evaluate_model

    device = "cuda" if torch.cuda.is_available() else "cpu"
    reading = logging.getLogger("pruneofa.data.tasks")
    level = reading.level
    reading.setLevel(logging.ERROR)  # what it says of the rows has been said by the stage
    try:
        found = on_first(lambda: evaluate_model(str(output_dir), required_task(recipe), device=device).metrics)
    finally:
        reading.setLevel(level)
    for name, value in {**{f"validation_{name}": value for name, value in validation.items()}, **found}.items():
        typer.echo(f"{name}: {value:.4f}")
