"""Stage `teach`: the dense model goes on pre-training on the corpus, so that it is the student's best teacher."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruneofa.recipe.document import Recipe
from pruneofa.training.pretraining import pretrain
from pruneofa.training.run import TrainingRun
from pruneofa.training.sections import TeachSection


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """Train `inputs["model"]` on `inputs["corpus"]` as `recipe.teach` says (PruneOFA, section 3, step 1)."""
    section = recipe.teach or TeachSection()
    return pretrain(
        section,
        TrainingRun.of_stage("teach", output_dir, recipe.seed, inputs.get("checkpoint")),
        model_path=inputs["model"],
        corpus_path=inputs["corpus"],
        output_dir=output_dir,
        extra={"base_model": inputs["model"], "recipe": recipe.name},
    )
