"""What `teach` and `prune` share: masked language modelling of a model on a built corpus."""

from pathlib import Path
from typing import Any

from pruneofa.data.corpus import load_corpus
from pruneofa.data.masking import MaskedLanguageModelDataset
from pruneofa.distillation.config import DistillationConfig
from pruneofa.distillation.distiller import Distiller
from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.sparsity.pruner import Pruner
from pruneofa.stages.corpus import DATA_FOLDER
from pruneofa.stages.models import load_model, load_tokenizer, save_log, save_model
from pruneofa.stages.record import CHECKPOINTS_FOLDER, STATE_FOLDER
from pruneofa.training.config import TrainingConfig
from pruneofa.training.objectives import MaskedLanguageModeling
from pruneofa.training.session import train_model


def pretrain(
    stage: str,
    training: TrainingConfig,
    *,
    model_path: str,
    corpus_path: str,
    output_dir: Path,
    seed: int,
    mask_probability: float,
    sparsity: SparsityConfig | None = None,
    distillation: DistillationConfig | None = None,
    teacher_path: str | None = None,
    resume_from_checkpoint: str | None = None,
    extra: dict[str, Any],
) -> dict[str, Any]:
    """Train a masked language model, with a pruner and a teacher where they are given, and save it.

    Returns:
        `eval_loss` (cross-entropy on the corpus's validation part, where it has one) and, when pruned, `sparsity`.
    """
    from transformers import AutoModelForMaskedLM, set_seed

    set_seed(seed)
    tokenizer = load_tokenizer(model_path)
    model = load_model(AutoModelForMaskedLM, model_path)
    splits = load_corpus(Path(corpus_path) / DATA_FOLDER, tokenizer)
    data = {name: MaskedLanguageModelDataset(part, tokenizer, seed, mask_probability) for name, part in splits.items()}
    distiller = None
    if distillation is not None:
        if teacher_path is None:
            raise ConfigurationError(
                "teacher: distillation is on, but there is no teacher; name one with --teacher_name_or_path, or set "
                f"{stage}.distillation to null"
            )
        teacher = load_model(AutoModelForMaskedLM, teacher_path, head_is_trained=True)
        distiller = Distiller(teacher, distillation, student=model)
    pruner = None
    if sparsity is not None:
        check_reaches_target(stage, sparsity, training)
        pruner = Pruner(model, sparsity)
    log = train_model(
        model,
        MaskedLanguageModeling(distiller),
        training,
        label=stage,
        train_dataset=data["train"],
        eval_dataset=data.get("validation"),
        pad_token_id=tokenizer.pad_token_id,
        checkpoint_dir=output_dir / STATE_FOLDER / CHECKPOINTS_FOLDER,
        seed=seed,
        pruner=pruner,
        resume_from_checkpoint=resume_from_checkpoint,
    )
    targets = dict.fromkeys(pruner.masks, sparsity.target_sparsity) if pruner and sparsity else None
    save_model(model, tokenizer, output_dir, stage=stage, targets=targets, extra=extra)
    save_log(log, output_dir)
    results = {"eval_loss": next((entry["eval_loss"] for entry in reversed(log) if "eval_loss" in entry), None)}
    if pruner is not None:
        results["sparsity"] = pruner.sparsity
    return results


def check_reaches_target(stage: str, sparsity: SparsityConfig, training: TrainingConfig) -> None:
    """Refuse a run that ends before its pruning does; where its length is in epochs, the trainer finds out.

    Raises:
        ConfigurationError: it does.
    """
    if training.max_steps is not None and sparsity.last_update > training.max_steps:
        raise ConfigurationError(
            f"{stage}.sparsity: the last re-selection is at step {sparsity.last_update}, but "
            f"{stage}.training.max_steps is {training.max_steps}; end pruning earlier or train longer"
        )
