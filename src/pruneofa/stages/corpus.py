"""Stage `corpus`: text -> examples for pre-training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruneofa.architectures.positions import longest_sequence
from pruneofa.errors import ConfigurationError
from pruneofa.models.loading import load_config, load_tokenizer
from pruneofa.recipe.document import Recipe
from pruneofa.stage_folder import CHECKPOINTS_FOLDER, CORPUS_FOLDER, STATE_FOLDER


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path, *, processes: int | None = None) -> dict[str, Any]:
    """Build the corpus that `recipe.corpus` describes with the tokenizer of `inputs["model"]`.

    Shards that are finished are kept as a training stage's checkpoints are, so a build that was broken off goes on.

    Args:
        recipe: its section `corpus`.
        inputs: `model`, whose tokenizer and length decide.
        output_dir: the stage's folder; the corpus goes to its `data`.
        processes: how many work, as many as there are cores by default; makes no difference to the result.
    """
    from pruneofa.data.pretraining.corpus import build_corpus

    if recipe.corpus is None:
        raise ConfigurationError("corpus: the recipe has no such section; add one that names its source")
    tokenizer = load_tokenizer(inputs["model"])
    limit = longest_sequence(load_config(inputs["model"]))
    work_dir = output_dir / STATE_FOLDER / CHECKPOINTS_FOLDER / "shards"
    return build_corpus(
        recipe.corpus,
        tokenizer,
        output_dir / CORPUS_FOLDER,
        model_max_length=limit,
        processes=processes,
        work_dir=work_dir,
    )
