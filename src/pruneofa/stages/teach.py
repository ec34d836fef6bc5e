"""Stage `teach`: the dense model goes on pre-training on the corpus, so that it is the student's best teacher."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruneofa.recipe.document import Recipe, TeachSection
from pruneofa.training.pretraining import pretrain


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """Train `inputs["model"]` on `inputs["corpus"]` as `recipe.teach` says (PruneOFA, section 3, step 1)."""
    section = recipe.teach or TeachSection()
    return pretrain(
        "teach",
        section.training,
        model_path=inputs["model"],
        corpus_path=inputs["corpus"],
        output_dir=output_dir,
        seed=recipe.seed,
        resume_from_checkpoint=inputs.get("checkpoint"),
        mask_probability=section.mask_probability,
        masking=section.masking,
        extra={"base_model": inputs["model"], "recipe": recipe.name},
    )
