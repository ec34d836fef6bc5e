"""The stages in order: which a recipe asks for, and what flows between them."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from pruneofa.atomic import replacing_file
from pruneofa.errors import ConfigurationError
from pruneofa.recipe import Recipe
from pruneofa.recipe_files import load_recipe, save_recipe
from pruneofa.reporting.data import ReportData
from pruneofa.stages import compress, corpus, evaluate, finetune, prune, quantize, report, teach, transfer
from pruneofa.stages.execution import Stage, execute
from pruneofa.stages.preflight import check_run
from pruneofa.stages.record import STATE_FOLDER

logger = logging.getLogger(__name__)

RECIPE_NAME = "recipe.yaml"
MODEL_NAME = "model.pofa"


@dataclass(frozen=True)
class Step:
    """A stage within a run: where its inputs come from and what its folder is to later ones.

    Attributes:
        stage: what runs.
        section: the recipe section without which it is left out.
        provides: names under which later stages find its folder.
    """

    stage: Stage
    section: str
    provides: tuple[str, ...]


STEPS = (
    Step(Stage("corpus", ("corpus",), ("model",), corpus.run), "corpus", ("corpus",)),
    Step(Stage("teach", ("teach",), ("model", "corpus"), teach.run), "teach", ("dense", "sparse")),
    Step(Stage("prune", ("prune",), ("dense", "corpus", "teacher?"), prune.run), "prune", ("sparse",)),
    Step(Stage("finetune", ("finetune", "task"), ("dense",), finetune.run), "finetune", ("task_teacher",)),
    Step(
        Stage("transfer", ("transfer", "task"), ("sparse", "task_teacher?"), transfer.run),
        "transfer",
        ("task_model",),
    ),
    Step(
        Stage("quantize", ("quantize", "task"), ("task_model", "task_teacher?"), quantize.run),
        "quantize",
        ("int8_model",),
    ),
    Step(Stage("evaluate", ("task",), ("task_teacher?", "task_model?", "int8_model?"), evaluate.run), "task", ()),
    Step(Stage("compress", ("compress",), ("task_teacher?", "task_model?", "int8_model?"), compress.run), "task", ()),
)
STAGES = {step.stage.name: step.stage for step in STEPS}


def run_pipeline(recipe: Recipe, output_dir: Path, *, overwrite: bool = False) -> ReportData:
    """Run every stage that `recipe` asks for; finished and unchanged ones are skipped, broken-off ones continued.

    Leaves `report.html` in `output_dir` and, where the recipe has a task, `model.pofa`, the run's smallest model.
    Returns what the report says.

    Raises:
        ConfigurationError: `output_dir` holds another recipe's run, or something else; the recipe contradicts itself.
        CheckpointError, DataError: the model or data can't be used; see `pruneofa.stages.preflight`.
    """
    check_run(recipe)
    _claim(recipe, output_dir, overwrite)
    artefacts = {"model": recipe.model.name_or_path}
    artefacts["dense"] = artefacts["sparse"] = artefacts["model"]
    for step in STEPS:
        name = step.stage.name
        if getattr(recipe, step.section) is None:
            logger.info("%s: not in the recipe, left out", name)
            continue
        folder = output_dir / name
        execute(step.stage, recipe, artefacts, folder, replace_stale=True)
        artefacts.update(dict.fromkeys(step.provides, str(folder)))
    _publish_model(output_dir)
    return report.write_report(output_dir)


def _claim(recipe: Recipe, output_dir: Path, overwrite: bool) -> None:
    """Make `output_dir` this recipe's, and keep the recipe in it."""
    held = output_dir / RECIPE_NAME
    if output_dir.exists() and not output_dir.is_dir():
        raise ConfigurationError(f"output_dir {str(output_dir)!r} is a file; give a folder")
    if output_dir.exists() and any(output_dir.iterdir()):
        if not held.exists():
            raise ConfigurationError(
                f"output_dir {str(output_dir)!r} holds files but no {RECIPE_NAME}, so it is no run's folder; choose "
                "another --output_dir"
            )
        other = load_recipe(str(held))
        if other == recipe:
            return  # the file stays as it is, with its comments if a user wrote it
        if other.name != recipe.name and not overwrite:
            raise ConfigurationError(
                f"output_dir {str(output_dir)!r} holds another run, of the recipe {other.name!r}; choose another "
                f"--output_dir for {recipe.name!r}, or pass --overwrite_output_dir to replace it"
            )
        if other.name != recipe.name:
            _remove_run(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    save_recipe(recipe, held)


def _remove_run(output_dir: Path) -> None:
    """Remove what a run wrote, and nothing else that lies in its folder."""
    for step in STEPS:
        folder = output_dir / step.stage.name
        if (folder / STATE_FOLDER).is_dir():
            shutil.rmtree(folder)
    for name in (MODEL_NAME, RECIPE_NAME, report.HTML_NAME, report.JSON_NAME, report.CARD_NAME):
        (output_dir / name).unlink(missing_ok=True)


def _publish_model(output_dir: Path) -> None:
    """Put the run's smallest compressed file where it is found."""
    for artefact in ("int8_model", "task_model"):
        source = output_dir / "compress" / f"{artefact}.pofa"
        if source.exists():
            with replacing_file(output_dir / MODEL_NAME) as temporary:
                shutil.copyfile(source, temporary)
            return
    (output_dir / MODEL_NAME).unlink(missing_ok=True)  # of an earlier recipe that had a task
