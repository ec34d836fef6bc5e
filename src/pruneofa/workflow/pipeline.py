"""The stages in order: which a recipe asks for, and what flows between them."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pruneofa.atomic import replacing_file, write_json
from pruneofa.errors import ConfigurationError
from pruneofa.ranks import on_first
from pruneofa.recipe.document import Recipe
from pruneofa.recipe.files import load_recipe, save_recipe
from pruneofa.reporting.data import ReportData
from pruneofa.reporting.seeds import summarize_seeds
from pruneofa.stage_folder import STATE_FOLDER
from pruneofa.workflow import report
from pruneofa.workflow.execution import execute
from pruneofa.workflow.preflight import check_run
from pruneofa.workflow.stage_list import PRETRAINING, STEPS

logger = logging.getLogger(__name__)

RECIPE_NAME = "recipe.yaml"
MODEL_NAME = "model.pofa"
SEEDS_NAME = "seeds.json"


@dataclass(frozen=True)
class Shared:
    """Stages that several runs have in common: they are done once, and skipped by every later run.

    Attributes:
        places: name of a stage -> the folder in which its own folder is.
        seed: with which they are done, whatever the run's own is; None for the run's.
    """

    places: Mapping[str, Path] = field(default_factory=dict)
    seed: int | None = None


def shared_pretraining(folder: Path | None) -> Shared:
    """A pre-training in `folder` for several tasks; nothing shared where it is None."""
    return Shared() if folder is None else Shared(dict.fromkeys(PRETRAINING, folder))


def run_pipeline(
    recipe: Recipe, output_dir: Path, *, overwrite: bool = False, shared: Shared | None = None
) -> ReportData:
    """Run every stage that `recipe` asks for; finished and unchanged ones are skipped, broken-off ones continued.

    Leaves `report.html` in `output_dir` and, where the recipe has a task, `model.pofa`, the run's smallest model.
    Returns what the report says. Of several processes each must call this; the first one writes.

    Args:
        recipe: what to run.
        output_dir: its folder.
        overwrite: replace what another recipe left there, or in a shared folder.
        shared: stages that lie elsewhere.

    Raises:
        ConfigurationError: `output_dir` holds another recipe's run, or something else; the recipe contradicts itself.
        CheckpointError, DataError: the model or data can't be used; see `pruneofa.workflow.preflight`.
    """
    shared = shared or Shared()
    on_first(partial(_begin, recipe, output_dir, overwrite))
    artefacts = {"model": recipe.model.name_or_path}
    artefacts["dense"] = artefacts["model"]
    artefacts["sparse"] = recipe.model.sparse_name_or_path or artefacts["model"]
    for step in STEPS:
        name = step.stage.name
        if not step.is_asked_for(recipe):
            logger.info("%s: not in the recipe, left out", name)
            continue
        folder, settings, replace = output_dir / name, recipe, True
        if name in shared.places:
            # Other runs stand on it, so it is not replaced without being asked for.
            folder, replace = shared.places[name] / name, overwrite
            if shared.seed is not None:
                settings = recipe.model_copy(update={"seed": shared.seed})
        execute(step.stage, settings, artefacts, folder, replace_stale=replace)
        artefacts.update(dict.fromkeys(step.provides, str(folder)))
    return on_first(partial(_finish, output_dir))


def run_seeds(
    recipe: Recipe, seeds: Sequence[int], output_dir: Path, *, overwrite: bool = False, shared: Shared | None = None
) -> dict[str, Any]:
    """Run a recipe's task with several seeds, each in a folder `seed-N` of `output_dir`, on one pre-training.

    The pre-training has the recipe's own seed. So has the task teacher where `finetune.seeds` chooses it among several;
    else each seed has a teacher of its own. Leaves `seeds.json`: mean and spread of every metric.

    Args:
        recipe: what to run; with a task.
        seeds: of the task's stages.
        output_dir: the folder of all.
        overwrite: as of `run_pipeline`.
        shared: where the pre-training lies, if not in `output_dir`.

    Returns:
        What `seeds.json` holds.

    Raises:
        ConfigurationError: the recipe has no task, or a seed stands twice; also as `run_pipeline`.
    """
    if recipe.task is None:
        raise ConfigurationError(
            f"--seeds: the recipe {recipe.name!r} has no task to run with them; add the section task"
        )
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigurationError(f"--seeds: is {list(seeds)}; allowed: different whole numbers")
    on_first(partial(_begin, recipe, output_dir, overwrite))
    places = dict.fromkeys(PRETRAINING, output_dir) | dict((shared or Shared()).places)
    one_teacher = recipe.finetune is not None and recipe.finetune.seeds is not None
    if one_teacher:
        places["finetune"] = output_dir
    common = Shared(places, recipe.seed)
    rows = {}
    for seed in seeds:
        logger.info("seed %d", seed)
        own = Recipe.model_validate({**recipe.model_dump(), "seed": seed})
        data = run_pipeline(own, output_dir / f"seed-{seed}", overwrite=overwrite, shared=common)
        rows[seed] = data.rows
    summary = {"recipe": recipe.name, **summarize_seeds(rows, one_teacher=one_teacher)}
    on_first(partial(write_json, output_dir / SEEDS_NAME, summary))
    return summary


def _begin(recipe: Recipe, output_dir: Path, overwrite: bool) -> None:
    check_run(recipe)
    _claim(recipe, output_dir, overwrite)


def _finish(output_dir: Path) -> ReportData:
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
    for name in (MODEL_NAME, SEEDS_NAME, RECIPE_NAME, report.HTML_NAME, report.JSON_NAME, report.CARD_NAME):
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
