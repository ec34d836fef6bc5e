"""What `teach` and `prune` share: masked language modelling of a model on a built corpus."""

import inspect
from pathlib import Path
from typing import Any

from pruneofa.data.pretraining.corpus import load_corpus
from pruneofa.data.pretraining.masking import MaskedLanguageModelDataset
from pruneofa.distillation.config import DistillationConfig
from pruneofa.distillation.distiller import Distiller
from pruneofa.errors import ConfigurationError
from pruneofa.models.loading import load_config, load_model, load_tokenizer
from pruneofa.models.saving import save_model
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.sparsity.pruner import Pruner
from pruneofa.sparsity.zeros import refuse_to_unlock
from pruneofa.stage_folder import CORPUS_FOLDER, save_log
from pruneofa.training.config import TrainingConfig
from pruneofa.training.objectives import MaskedLanguageModeling
from pruneofa.training.run import Examples, TrainingRun
from pruneofa.training.sections import PruneSection, TeachSection
from pruneofa.training.session import train_model


def pretrain(
    section: TeachSection | PruneSection,
    run: TrainingRun,
    *,
    model_path: str,
    corpus_path: str,
    output_dir: Path,
    teacher_path: str | None = None,
    extra: dict[str, Any],
) -> dict[str, Any]:
    """Train a masked language model, with a pruner and a teacher where the section has them, and save it.

    On a corpus of segment pairs the model also learns whether the second follows the first (BERT's pre-training).

    Args:
        section: the recipe's, of the stage.
        run: of the stage.
        model_path: the model to start from.
        corpus_path: folder of the stage `corpus`.
        output_dir: where the model goes.
        teacher_path: what a distillation learns from.
        extra: further facts for the model's manifest.

    Returns:
        `eval_loss` (cross-entropy on the corpus's validation part, where it has one; of masked tokens, and for pairs
        with that of next sentences added) and, when pruned, `sparsity`.

    Raises:
        ConfigurationError: distillation without a teacher; a corpus of pairs, and a model without a head for them.
    """
    from transformers import set_seed

    sparsity, distillation = (
        (section.sparsity, section.distillation) if isinstance(section, PruneSection) else (None, None)
    )
    set_seed(run.seed)
    tokenizer = load_tokenizer(model_path)
    splits = load_corpus(Path(corpus_path) / CORPUS_FOLDER, tokenizer)
    auto_class = pretraining_class(load_config(model_path), pairs="next_sentence_label" in splits["train"].column_names)
    model = load_model(auto_class, model_path)
    if isinstance(section, TeachSection) and not section.unlock:
        refuse_to_unlock(model, run.label, model_path, "use prune with the sparsity it has (sparsity.end_step 0)")
    data = {
        name: MaskedLanguageModelDataset(part, tokenizer, run.seed, section.mask_probability, section.masking)
        for name, part in splits.items()
    }
    distiller = _distiller(run.label, distillation, teacher_path, auto_class, model)
    pruner = None
    if sparsity is not None:
        check_reaches_target(run.label, sparsity, section.training)
        pruner = Pruner(model, sparsity)
    log = train_model(
        model,
        MaskedLanguageModeling(distiller),
        section.training,
        Examples(data["train"], tokenizer.pad_token_id, data.get("validation")),
        run,
        pruner=pruner,
    )
    targets = dict.fromkeys(pruner.masks, sparsity.target_sparsity) if pruner and sparsity else None
    save_model(model, tokenizer, output_dir, stage=run.label, targets=targets, extra=extra)
    save_log(log, output_dir)
    results = {"eval_loss": next((entry["eval_loss"] for entry in reversed(log) if "eval_loss" in entry), None)}
    if pruner is not None:
        results["sparsity"] = pruner.sparsity
    return results


def pretraining_class(config: Any, *, pairs: bool) -> Any:
    """The class of transformers that a model is pre-trained as.

    Args:
        config: the model's.
        pairs: the corpus is one of segment pairs.

    Raises:
        ConfigurationError: it is, and models of this type have no head that takes `next_sentence_label`.
    """
    from transformers import MODEL_FOR_PRETRAINING_MAPPING, AutoModelForMaskedLM, AutoModelForPreTraining

    if not pairs:
        return AutoModelForMaskedLM
    found = MODEL_FOR_PRETRAINING_MAPPING.get(type(config), None)
    if found is None or "next_sentence_label" not in inspect.signature(found.forward).parameters:
        raise ConfigurationError(
            f"corpus.form: the corpus is one of segment pairs, but models of type {config.model_type!r} have no "
            "next-sentence head; build it in another form, for masked tokens alone, or start from a BERT"
        )
    return AutoModelForPreTraining


def _distiller(
    stage: str, distillation: DistillationConfig | None, teacher_path: str | None, auto_class: Any, student: Any
) -> Distiller | None:
    if distillation is None:
        return None
    if teacher_path is None:
        raise ConfigurationError(
            "teacher: distillation is on, but there is no teacher; name one with --teacher_name_or_path, or set "
            f"{stage}.distillation to null"
        )
    teacher = load_model(auto_class, teacher_path, head_is_trained=True)
    return Distiller(teacher, distillation, student=student)


def check_reaches_target(stage: str, sparsity: SparsityConfig, training: TrainingConfig) -> None:
    """Refuse a run that ends before its pruning does; where its length is in epochs, the trainer finds out.

    Raises:
        ConfigurationError: it does.
    """
    steps = training.max_steps
    if steps is not None and sparsity.last_update > steps:
        key = "end_step" if sparsity.freeze_step is None else "freeze_step"
        also = "" if sparsity.freeze_step is None else f" --set {stage}.sparsity.freeze_step=null"
        raise ConfigurationError(
            f"{stage}.sparsity.{key} is {sparsity.last_update}, the step of the last re-selection, but "
            f"{stage}.training.max_steps is {steps}; allowed: at most that. End pruning earlier (half of the steps: "
            f"--set {stage}.sparsity.end_step={steps // 2} --set {stage}.sparsity.update_every={max(1, steps // 20)}"
            f"{also}) or train longer"
        )
