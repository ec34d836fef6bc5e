"""Stage `quantize`: quantization-aware training of a sparse task model to int8, zeros locked, teacher on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruneofa.recipe import QuantizeSection, Recipe
from pruneofa.sparsity.lock import lock_pattern
from pruneofa.stages.models import manifest_extra, save_log, save_model
from pruneofa.stages.record import CHECKPOINTS_FOLDER, STATE_FOLDER
from pruneofa.stages.task_training import load_task_model, required_task, with_teacher
from pruneofa.training.objectives import TaskLoss
from pruneofa.training.session import train_model


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """Train `inputs["task_model"]` with fake quantization and leave it on its int8 grid (PruneOFA, section 4)."""
    from transformers import set_seed

    from pruneofa.quantization.qat import convert, prepare_qat

    section, task = recipe.quantize or QuantizeSection(), required_task(recipe)
    set_seed(recipe.seed)
    tokenizer, model, data = load_task_model(inputs["task_model"], task, head_is_trained=True)
    lock = lock_pattern(model)
    prepare_qat(model, section.quantization)
    distiller, examples = with_teacher(
        "quantize",
        section.distillation,
        inputs.get("task_teacher"),
        model,
        data.train,
        tokenizer.pad_token_id,
        section.training,
    )
    log = train_model(
        model,
        TaskLoss(distiller),
        section.training,
        label="quantize",
        train_dataset=examples,
        pad_token_id=tokenizer.pad_token_id,
        checkpoint_dir=output_dir / STATE_FOLDER / CHECKPOINTS_FOLDER,
        seed=recipe.seed,
        resume_from_checkpoint=inputs.get("checkpoint"),
        pruner=lock,
        freeze_observers_step=section.quantization.freeze_observers_step,
    )
    state = convert(model)
    extra = {"base_model": inputs["task_model"], **manifest_extra(inputs["task_model"]), "recipe": recipe.name}
    save_model(model, tokenizer, output_dir, stage="quantize", quantized=state, extra=extra)
    save_log(log, output_dir)
    return {"sparsity": lock.sparsity}
