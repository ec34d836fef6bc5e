"""A corpus's training examples as a stage sees them, for measuring its steps without running it."""

from pathlib import Path
from typing import Any

from pruneofa.data.pretraining.corpus import load_corpus
from pruneofa.data.pretraining.masking import MaskedLanguageModelDataset
from pruneofa.models.loading import load_tokenizer
from pruneofa.recipe.document import Recipe
from pruneofa.stage_folder import CORPUS_FOLDER


def examples_to_measure(recipe: Recipe, stage: str, corpus_dir: Path) -> dict[str, Any]:
    """Arguments `dataset` and `pad_token_id` of `pruneofa.planning.measure.measure_stage`.

    Raises:
        CheckpointError: the recipe's model has no tokenizer.
        DataError: the corpus is damaged, or made with another tokenizer.
    """
    section = getattr(recipe, stage)
    tokenizer = load_tokenizer(recipe.model.name_or_path)
    examples = load_corpus(corpus_dir / CORPUS_FOLDER, tokenizer)["train"]
    dataset = MaskedLanguageModelDataset(examples, tokenizer, recipe.seed, section.mask_probability, section.masking)
    return {"dataset": dataset, "pad_token_id": tokenizer.pad_token_id}
