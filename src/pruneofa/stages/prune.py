"""Stage `prune`: the dense model becomes a sparse pre-trained one, with its dense self as the teacher."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruneofa.models.saving import manifest_extra
from pruneofa.recipe.document import Recipe
from pruneofa.training.pretraining import pretrain
from pruneofa.training.run import TrainingRun
from pruneofa.training.sections import PruneSection


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """Prune `inputs["dense"]` on `inputs["corpus"]` as `recipe.prune` says (PruneOFA, section 3, step 2)."""
    section = recipe.prune or PruneSection()
    return pretrain(
        section,
        TrainingRun.of_stage("prune", output_dir, recipe.seed, inputs.get("checkpoint")),
        model_path=inputs["dense"],
        corpus_path=inputs["corpus"],
        output_dir=output_dir,
        teacher_path=inputs.get("teacher", inputs["dense"]),
        extra={"base_model": inputs["dense"], **manifest_extra(inputs["dense"]), "recipe": recipe.name},
    )
