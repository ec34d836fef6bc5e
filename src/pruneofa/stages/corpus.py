"""Stage `corpus`: text -> packed examples for masked language modelling."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruneofa.errors import ConfigurationError
from pruneofa.recipe import Recipe
from pruneofa.stages.models import load_config, load_tokenizer, longest_sequence

DATA_FOLDER = "data"


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """Tokenise, split and pack the sources of `recipe.corpus` with the tokenizer of `inputs["model"]`."""
    from pruneofa.data.corpus import build_corpus

    if recipe.corpus is None:
        raise ConfigurationError("corpus: the recipe has no such section; add one that names its source")
    tokenizer = load_tokenizer(inputs["model"])
    limit = longest_sequence(load_config(inputs["model"]))
    return build_corpus(recipe.corpus, tokenizer, output_dir / DATA_FOLDER, model_max_length=limit)
