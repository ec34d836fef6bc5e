"""A corpus's training examples as a stage sees them, for measuring its steps without running it."""

from pathlib import Path
from typing import Any

from pruneofa.data.corpus import load_corpus
from pruneofa.data.masking import MaskedLanguageModelDataset
from pruneofa.recipe import Recipe
from pruneofa.stages.corpus import DATA_FOLDER
from pruneofa.stages.models import load_tokenizer


def examples_to_measure(recipe: Recipe, stage: str, corpus_dir: Path) -> dict[str, Any]:
    """Arguments `dataset` and `pad_token_id` of `pruneofa.planning.measure.measure_stage`.

    Raises:
        CheckpointError: the recipe's model has no tokenizer.
        DataError: the corpus is damaged, or made with another tokenizer.
    """
    section = getattr(recipe, stage)
    tokenizer = load_tokenizer(recipe.model.name_or_path)
    examples = load_corpus(corpus_dir / DATA_FOLDER, tokenizer)["train"]
    dataset = MaskedLanguageModelDataset(examples, tokenizer, recipe.seed, section.mask_probability, section.masking)
    return {"dataset": dataset, "pad_token_id": tokenizer.pad_token_id}
