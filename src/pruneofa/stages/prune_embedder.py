"""Stage `prune_embedder`: a sentence encoder learns from its dense self, with its zeros locked or with more of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruneofa.data.pretraining.corpus import load_corpus
from pruneofa.data.pretraining.texts import TextDataset
from pruneofa.models.loading import load_model
from pruneofa.models.opened import open_model
from pruneofa.models.saving import manifest_extra, save_model
from pruneofa.models.sentence_files import carry_sentence_files
from pruneofa.recipe.document import Recipe
from pruneofa.sparsity.lock import lock_pattern
from pruneofa.sparsity.pruner import Pruner
from pruneofa.stage_folder import CORPUS_FOLDER, save_log
from pruneofa.training.embedding_objective import EmbeddingDistillation, embedding_pooling
from pruneofa.training.pretraining import check_reaches_target
from pruneofa.training.run import Examples, TrainingRun
from pruneofa.training.sections import PruneEmbedderSection
from pruneofa.training.session import train_model


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """Train `inputs["sparse"]`, a dense encoder or one that has zeros already, on `inputs["corpus"]`.

    The teacher is `inputs["teacher"]`, else the recipe's model.

    Returns:
        `eval_loss`: the objective on the corpus's validation part, where it has one; `sparsity`.

    Raises:
        ConfigurationError: nothing is pruned and the model has no zeros; the folder's pooling is none that is learned.
    """
    from transformers import AutoModel, set_seed

    section = recipe.prune_embedder or PruneEmbedderSection()
    start, teacher_path = inputs["sparse"], inputs.get("teacher", recipe.model.name_or_path)
    set_seed(recipe.seed)
    opened = open_model(teacher_path)
    model, teacher = load_model(AutoModel, start), load_model(AutoModel, teacher_path)
    tokenizer = opened.tokenizer()
    data = {
        name: TextDataset(part) for name, part in load_corpus(Path(inputs["corpus"]) / CORPUS_FOLDER, tokenizer).items()
    }
    if section.sparsity is not None:
        check_reaches_target("prune_embedder", section.sparsity, section.training)
    pruner = lock_pattern(model) if section.sparsity is None else Pruner(model, section.sparsity)
    log = train_model(
        model,
        EmbeddingDistillation(teacher, model, section.embedding, embedding_pooling(section.embedding, opened)),
        section.training,
        Examples(data["train"], tokenizer.pad_token_id, data.get("validation")),
        TrainingRun.of_stage("prune_embedder", output_dir, recipe.seed, inputs.get("checkpoint")),
        pruner=pruner,
    )
    sparsity = pruner.sparsity
    targets = dict.fromkeys(pruner.masks, section.sparsity.target_sparsity) if section.sparsity is not None else None
    extra = {"base_model": recipe.model.name_or_path, **manifest_extra(start), "recipe": recipe.name}
    save_model(model, tokenizer, output_dir, stage="prune_embedder", targets=targets, extra=extra)
    carry_sentence_files(opened, output_dir)
    save_log(log, output_dir)
    loss = next((entry["eval_loss"] for entry in reversed(log) if "eval_loss" in entry), None)
    return {"eval_loss": loss, "sparsity": sparsity}
