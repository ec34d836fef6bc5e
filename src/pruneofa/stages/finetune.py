"""Stage `finetune`: the dense model learns the task; it is what the sparse one learns from and is compared with."""

import json
import logging
import statistics
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pruneofa.atomic import write_json
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.loading import TaskData
from pruneofa.errors import ConfigurationError
from pruneofa.models.heads import auto_class
from pruneofa.models.loading import load_model
from pruneofa.models.saving import manifest_extra, save_model
from pruneofa.models.task_heads import load_for_task
from pruneofa.ranks import on_first
from pruneofa.recipe.document import Recipe, required_task
from pruneofa.sparsity.zeros import refuse_to_unlock
from pruneofa.stage_folder import save_log
from pruneofa.training.run import TrainingRun
from pruneofa.training.sections import FinetuneSection
from pruneofa.training.tasks import load_task_data, train_on_task, validation_metrics
from pruneofa.training.teacher_logits import store_logits, teacher_logits

logger = logging.getLogger(__name__)

_SCORE_NAME = "score.json"


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """Fine-tune `inputs["dense"]` on the recipe's task, and keep its logits on the training examples.

    With `finetune.seeds` one model is trained for each, and the one that is best on what is held out of training is
    kept; a run that is broken off goes on with the seed that it had come to.
    """
    section, task = recipe.finetune or FinetuneSection(), required_task(recipe)
    seeds = section.seeds or [recipe.seed]
    check_can_choose(section, task)
    tokenizer, data = load_task_data(inputs["dense"], task)
    whole = TrainingRun.of_stage("finetune", output_dir, seeds[0], inputs.get("checkpoint"))
    checkpoints = whole.checkpoint_dir
    extra = {"base_model": inputs["dense"], **manifest_extra(inputs["dense"]), "recipe": recipe.name}
    results: dict[str, Any] = {"task": data.statistics}
    if len(seeds) == 1:
        model, log = _train(section, whole, inputs["dense"], tokenizer, data, task)
    else:
        for seed in seeds:
            folder = checkpoints / f"seed-{seed}"
            if (folder / _SCORE_NAME).exists():
                logger.info("finetune: seed %d: done before", seed)
                continue
            run_of_seed = replace(whole, seed=seed, checkpoint_dir=folder / "steps")
            model, log = _train(section, run_of_seed, inputs["dense"], tokenizer, data, task)
            save_model(model, None, folder / "model", stage="finetune", extra=extra)
            score = {"validation": validation_metrics(log), "log": log}
            on_first(partial(write_json, folder / _SCORE_NAME, score))
        model, log, chosen = _best(seeds, checkpoints, task, data)
        results |= chosen
    save_model(model, tokenizer, output_dir, stage="finetune", extra=extra)
    pad, training = tokenizer.pad_token_id, section.training
    on_first(lambda: store_logits(output_dir, data.train, teacher_logits(model, data, pad, training)))
    save_log(log, output_dir)
    if found := validation_metrics(log):
        results["validation"] = found
    return results


def check_can_choose(section: FinetuneSection, task: TaskConfig) -> None:
    """Refuse to choose among seeds where nothing is held out of training to choose by.

    Raises:
        ConfigurationError: nothing is.
    """
    if len(section.seeds or ()) > 1 and not task.validation_fraction:
        raise ConfigurationError(
            f"finetune.seeds is {section.seeds}, but no part of the training data is held out to choose the best by; "
            "set task.validation_fraction (0.05, say), or name one seed"
        )


def _train(
    section: FinetuneSection, run: TrainingRun, model_path: str, tokenizer: Any, data: TaskData, task: TaskConfig
) -> tuple[Any, list[dict[str, Any]]]:
    from transformers import set_seed

    set_seed(run.seed)
    model = load_for_task(model_path, data.kind, data.label_names)
    if not section.unlock:
        refuse_to_unlock(model, "finetune", model_path, "use transfer, which locks them")
    return model, train_on_task(section, run, model, data, task, tokenizer.pad_token_id)


def _best(
    seeds: list[int], checkpoints: Path, task: TaskConfig, data: TaskData
) -> tuple[Any, list[dict[str, Any]], dict[str, Any]]:
    """The model that is best on what is held out of training (the first of equals), its log, and what was compared."""
    scores = {}
    for seed in seeds:
        document = json.loads((checkpoints / f"seed-{seed}" / _SCORE_NAME).read_text(encoding="utf-8"))
        scores[seed] = document["validation"][task.metric_of(data.kind)]
    best = max(seeds, key=lambda seed: scores[seed])
    folder = checkpoints / f"seed-{best}"
    values = list(scores.values())
    results = {
        "seeds": {str(seed): score for seed, score in scores.items()},
        "chosen_seed": best,
        "validation_mean": statistics.mean(values),
        "validation_standard_deviation": statistics.stdev(values),
    }
    logger.info("finetune: seed %d is the best of %s", best, ", ".join(f"{s}: {v:.4f}" for s, v in scores.items()))
    log = json.loads((folder / _SCORE_NAME).read_text(encoding="utf-8"))["log"]
    return load_model(auto_class(data.kind), str(folder / "model"), head_is_trained=True), log, results
