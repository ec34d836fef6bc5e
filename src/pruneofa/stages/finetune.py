"""Stage `finetune`: the dense model learns the task; it is what the sparse one learns from and is compared with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruneofa.recipe import FinetuneSection, Recipe
from pruneofa.stages.models import manifest_extra, save_log, save_model
from pruneofa.stages.record import CHECKPOINTS_FOLDER, STATE_FOLDER
from pruneofa.stages.task_training import load_task_model, required_task, store_logits, teacher_logits
from pruneofa.training.objectives import TaskLoss
from pruneofa.training.session import train_model


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """Fine-tune `inputs["dense"]` on the recipe's task, and keep its logits on the training examples."""
    from transformers import set_seed

    section, task = recipe.finetune or FinetuneSection(), required_task(recipe)
    set_seed(recipe.seed)
    tokenizer, model, data = load_task_model(inputs["dense"], task)
    log = train_model(
        model,
        TaskLoss(),
        section.training,
        label="finetune",
        train_dataset=data.train,
        pad_token_id=tokenizer.pad_token_id,
        checkpoint_dir=output_dir / STATE_FOLDER / CHECKPOINTS_FOLDER,
        seed=recipe.seed,
        resume_from_checkpoint=inputs.get("checkpoint"),
    )
    extra = {"base_model": inputs["dense"], **manifest_extra(inputs["dense"]), "recipe": recipe.name}
    save_model(model, tokenizer, output_dir, stage="finetune", extra=extra)
    store_logits(output_dir, data.train, teacher_logits(model, data.train, tokenizer.pad_token_id, section.training))
    save_log(log, output_dir)
    return {"task": data.statistics}
