"""Stage `transfer`: the sparse model learns the task with its zeros locked, from a dense teacher."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruneofa.models.saving import manifest_extra, save_model
from pruneofa.recipe.document import Recipe, required_task
from pruneofa.sparsity.lock import PatternLock, lock_pattern
from pruneofa.sparsity.pruner import Pruner
from pruneofa.sparsity.zero_count import ZeroCount
from pruneofa.stage_folder import save_log
from pruneofa.training.run import TrainingRun
from pruneofa.training.sections import TransferSection
from pruneofa.training.tasks import load_task_model, train_on_task, validation_metrics


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """Fine-tune `inputs["sparse"]` on the recipe's task (PruneOFA, section 3, step 3).

    With `transfer.sparsity` the model is pruned while it is fine-tuned instead: the baseline of the paper. With
    `transfer.lock: false` its zeros are left to vanish: an ablation.
    """
    from transformers import set_seed

    section, task = recipe.transfer or TransferSection(), required_task(recipe)
    set_seed(recipe.seed)
    tokenizer, model, data = load_task_model(inputs["sparse"], task, new_head=section.new_head)
    keeper: Pruner | PatternLock
    if section.sparsity is not None:
        keeper = Pruner(model, section.sparsity)
    else:
        keeper = lock_pattern(model) if section.lock else ZeroCount(model)
    log = train_on_task(
        section,
        TrainingRun.of_stage("transfer", output_dir, recipe.seed, inputs.get("checkpoint")),
        model,
        data,
        task,
        tokenizer.pad_token_id,
        teacher=inputs.get("task_teacher"),
        pruner=keeper,
    )
    asked = dict.fromkeys(keeper.masks, keeper.target) if isinstance(keeper, Pruner) else None
    extra = {"base_model": inputs["sparse"], **manifest_extra(inputs["sparse"]), "recipe": recipe.name}
    save_model(model, tokenizer, output_dir, stage="transfer", targets=asked, extra={**extra, "task": task.task_name})
    save_log(log, output_dir)
    found = validation_metrics(log)
    return {"sparsity": keeper.sparsity, "task": data.statistics, **({"validation": found} if found else {})}
