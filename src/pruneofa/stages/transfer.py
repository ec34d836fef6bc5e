"""Stage `transfer`: the sparse model learns the task with its zeros locked, from a dense teacher."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruneofa.recipe import Recipe, TransferSection
from pruneofa.sparsity.lock import PatternLock, lock_pattern
from pruneofa.sparsity.pruner import Pruner
from pruneofa.stages.models import manifest_extra, save_log, save_model
from pruneofa.stages.record import CHECKPOINTS_FOLDER, STATE_FOLDER
from pruneofa.stages.task_training import load_task_model, required_task, with_teacher
from pruneofa.training.objectives import TaskLoss
from pruneofa.training.session import train_model


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """Fine-tune `inputs["sparse"]` on the recipe's task (PruneOFA, section 3, step 3).

    With `transfer.sparsity` the model is pruned while it is fine-tuned instead: the baseline of the paper.
    """
    from transformers import set_seed

    section, task = recipe.transfer or TransferSection(), required_task(recipe)
    set_seed(recipe.seed)
    tokenizer, model, data = load_task_model(inputs["sparse"], task)
    keeper: Pruner | PatternLock
    keeper = lock_pattern(model) if section.sparsity is None else Pruner(model, section.sparsity)
    distiller, examples = with_teacher(
        "transfer",
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
        label="transfer",
        train_dataset=examples,
        pad_token_id=tokenizer.pad_token_id,
        checkpoint_dir=output_dir / STATE_FOLDER / CHECKPOINTS_FOLDER,
        seed=recipe.seed,
        resume_from_checkpoint=inputs.get("checkpoint"),
        pruner=keeper,
    )
    asked = dict.fromkeys(keeper.masks, keeper.target) if isinstance(keeper, Pruner) else None
    extra = {"base_model": inputs["sparse"], **manifest_extra(inputs["sparse"]), "recipe": recipe.name}
    save_model(model, tokenizer, output_dir, stage="transfer", targets=asked, extra={**extra, "task": task.task_name})
    save_log(log, output_dir)
    return {"sparsity": keeper.sparsity, "task": data.statistics}
