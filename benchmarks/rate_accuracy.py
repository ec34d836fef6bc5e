"""How small a sparse model gets, and what that costs: sparsity, step of the grid and accuracy beside the real bytes.

A sparse task model is pruned further, rung by rung: each rung starts from the one before, prunes while it goes on
learning from the dense teacher, and is short. Each rung is then rounded by several rules (calibrated: nothing is
trained), packed, and scored on the selection part of the training data. Of those that are small enough, the one with
the best score is trained with rounding at its steps; only this one, the float rungs and the models that it is compared
with are scored on the evaluation part.

    python benchmarks/rate_accuracy.py --model RUN/transfer --teacher RUN/finetune --output results/rate_accuracy.json

Every model is kept in the work folder, so this can be broken off and called again.
"""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from provenance import provenance

from pruneofa.architectures.linears import encoder_linears
from pruneofa.atomic import write_json
from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.data.tasks.calibration import sample_batches
from pruneofa.models.folder_compression import compress_model
from pruneofa.quantization.steps import choose_steps, step_costs
from pruneofa.recipe.document import Recipe, required_task
from pruneofa.recipe.files import load_recipe
from pruneofa.stages.evaluate import evaluate_model
from pruneofa.training.tasks import load_task_model
from pruneofa.workflow.execution import execute
from pruneofa.workflow.stage_list import STAGES

AIM = 40.0  # times smaller than float32, in bytes of the encoder's weights
PARTS = {"selection": "rotten_tomatoes:selection", "evaluation": "rotten_tomatoes:evaluation"}
CALIBRATION = {"method": "calibration", "calibration.examples": 64}
PER_TENSOR = {"quantization.weight_granularity": "per_tensor", "quantization.keep_pattern": False}
COST_TEXTS = 32

# Rule -> keys of the section quantize, all with one scale per weight. The finest step is absmax / 127.
RULES: dict[str, dict[str, Any]] = {
    "finest step": {},
    "steps for 3 bits a value": {"value_bits": 3.0},
    "steps for 2 bits a value": {"value_bits": 2.0},
    "steps for 1.5 bits a value": {"value_bits": 1.5},
    "levels of 5 bits": {"quantization.weight_bits": 5},
    "levels of 4 bits": {"quantization.weight_bits": 4},
}
FURTHER = ("finest step", "steps for 3 bits a value", "steps for 2 bits a value", "levels of 4 bits")
"""Of these rules, those that the further rungs are rounded by."""


def recipe_with(arguments: argparse.Namespace, keys: dict[str, Any]) -> Recipe:
    """The base recipe, trained on the fit part of the training data, with `keys` above."""
    settings = ["task.train=rotten_tomatoes:fit", *arguments.set]
    return load_recipe(arguments.recipe, [*settings, *(f"{key}={json.dumps(value)}" for key, value in keys.items())])


def prune_further(start: Path, before: float, target: float, arguments: argparse.Namespace) -> Path:
    """The folder of the next rung."""
    steps, ramp = arguments.steps, arguments.steps * 6 // 10
    sparsity = {
        "target_sparsity": target,
        "initial_sparsity": before,
        "end_step": ramp,
        "update_every": 4,
        "freeze_step": ramp,
    }
    training = {"max_steps": steps, "num_train_epochs": None, "learning_rate": arguments.learning_rate, "dropout": 0.0}
    keys = {f"transfer.sparsity.{key}": value for key, value in sparsity.items()}
    keys |= {f"transfer.training.{key}": value for key, value in training.items()}
    folder: Path = arguments.work / f"sparse-{100 * target:g}"
    inputs = {"sparse": str(start), "task_teacher": str(arguments.teacher)}
    execute(STAGES["transfer"], recipe_with(arguments, keys), inputs, folder, replace_stale=True)
    return folder


def steps_of(start: Path, bits: float, arguments: argparse.Namespace) -> dict[str, float]:
    """The step of each encoder weight; what a step costs is measured once for a rung, and kept."""
    recipe = recipe_with(arguments, {f"quantize.{key}": value for key, value in PER_TENSOR.items()})
    assert recipe.quantize is not None
    tokenizer, model, data = load_task_model(str(start), required_task(recipe), head_is_trained=True)
    linears, scheme = encoder_linears(model), recipe.quantize.quantization
    kept = arguments.work / f"{start.name}.costs.json"
    if not kept.exists():
        batches = sample_batches(data.train, COST_TEXTS, 16, tokenizer.pad_token_id, recipe.seed)
        write_json(kept, step_costs(model, linears, scheme, batches))
    costs = json.loads(kept.read_text(encoding="utf-8"))
    return choose_steps(model, linears, scheme, (), bits, costs)


def quantized(start: Path, rule: str, trained: bool, arguments: argparse.Namespace) -> Path:
    """The folder of a rung after one rule, calibrated or trained."""
    name = f"{start.name}-{'trained' if trained else 'calibrated'}-{rule}".replace(",", "").replace(" ", "-")
    folder: Path = arguments.work / name
    training = {"calibration.examples": 64, "training.max_steps": arguments.qat_steps}
    section = {**PER_TENSOR, **RULES[rule], **(training if trained else CALIBRATION)}
    if (bits := section.pop("value_bits", None)) is not None:
        section["quantization.weight_steps"] = steps_of(start, bits, arguments)
    recipe = recipe_with(arguments, {f"quantize.{key}": value for key, value in section.items()})
    inputs = {"task_model": str(start), "task_teacher": str(arguments.teacher)}
    execute(STAGES["quantize"], recipe, inputs, folder, replace_stale=True)
    return folder


def is_fresh(kept: Path, folder: Path) -> bool:
    """Whether something was made from what the folder holds now: a changed rule makes the folder anew."""
    return kept.exists() and kept.stat().st_mtime >= (folder / "model.safetensors").stat().st_mtime


def accuracy(folder: Path, part: str, arguments: argparse.Namespace) -> float:
    """Accuracy on a part, kept beside the folder."""
    kept = arguments.work / f"{folder.name}.{part}.json"
    if is_fresh(kept, folder):
        return float(json.loads(kept.read_text(encoding="utf-8"))["accuracy"])
    recipe = recipe_with(arguments, {"task.evaluation": PARTS[part]})
    metrics = evaluate_model(str(folder), required_task(recipe)).metrics
    write_json(kept, metrics)
    return metrics["accuracy"]


def sizes(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Bytes of the packed file, and bits to a weight."""
    packed = arguments.work / f"{folder.name}.pofa"
    if not is_fresh(packed, folder):
        compress_model(str(folder), str(packed), form="packed")
    found = inspect_model(packed).as_dict()
    shown = ["encoder_sparsity", "bytes_encoder", "bytes_scales", "entropy_bound_bytes", "bytes_total"]
    shown += ["nominal_ratio", "real_ratio"]
    bits = 8 * found["bytes_encoder"] / found["encoder_parameters"]
    return {**{key: found[key] for key in shown}, "bits_per_weight": bits}


def row(folder: Path, rung: float, rule: str, method: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Sizes and score of one model."""
    found = {"sparsity": rung, "rule": rule, "method": method, **sizes(folder, arguments)}
    score = accuracy(folder, "selection", arguments)
    logging.info("%g, %s, %s: %.2f %%, %.1fx", rung, rule, method, 100 * score, found["real_ratio"])
    return {**found, "selection_accuracy": score}


def climb(arguments: argparse.Namespace) -> tuple[dict[float, Path], list[dict[str, Any]]]:
    """All rungs, and a row for each of them in float and after each rule."""
    first = inspect_model(arguments.model).encoder_sparsity
    rungs, rows = {round(first, 4): arguments.model}, []
    for target in arguments.sparsity:
        before, start = list(rungs.items())[-1]
        rungs[target] = prune_further(start, before, target, arguments)
    for index, (rung, folder) in enumerate(rungs.items()):
        rows.append(row(folder, rung, "float32", "none", arguments))
        for rule in RULES if index == 0 else FURTHER:
            rows.append(row(quantized(folder, rule, False, arguments), rung, rule, "calibrated", arguments))
    return rungs, rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = [f"{'sparsity':<10}{'rule':<30}{'method':<12}{'bits':>8}{'ratio':>8}{'selection':>11}{'evaluation':>12}"]
    for found in rows:
        reported = found.get("evaluation_accuracy")
        lines.append(
            f"{found['sparsity']:<10}{found['rule']:<30}{found['method']:<12}{found['bits_per_weight']:>8.3f}"
            f"{found['real_ratio']:>7.1f}x{100 * found['selection_accuracy']:>11.2f}"
            + ("" if reported is None else f"{100 * reported:>12.2f}")
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a sparse task model, not trained on")
    parser.add_argument("--teacher", type=Path, required=True, help="folder of the dense task model")
    parser.add_argument("--recipe", default="demo", help="whose sections transfer, quantize and task hold")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key; repeatable")
    parser.add_argument("--sparsity", type=float, nargs="*", default=[0.9, 0.93], help="the further rungs")
    parser.add_argument("--steps", type=int, default=120, help="of a rung")
    parser.add_argument("--learning_rate", type=float, default=3e-4, help="of a rung")
    parser.add_argument("--qat_steps", type=int, default=150, help="of the chosen model; 0: none is trained")
    parser.add_argument("--work", type=Path, default=Path("runs/rate_accuracy"))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger().setLevel(logging.INFO)
    arguments.work.mkdir(parents=True, exist_ok=True)
    rungs, rows = climb(arguments)
    small = [found for found in rows if found["real_ratio"] >= AIM]
    for found in rows:
        if found["rule"] == "float32":
            found["evaluation_accuracy"] = accuracy(rungs[found["sparsity"]], "evaluation", arguments)
    if small:
        best = max(small, key=lambda found: found["selection_accuracy"])
        rung, rule = best["sparsity"], best["rule"]
        best["evaluation_accuracy"] = accuracy(quantized(rungs[rung], rule, False, arguments), "evaluation", arguments)
        if arguments.qat_steps:
            folder = quantized(rungs[rung], rule, True, arguments)
            rows.append(row(folder, rung, rule, "trained", arguments))
            rows[-1]["evaluation_accuracy"] = accuracy(folder, "evaluation", arguments)
    dense = {part: accuracy(arguments.teacher, part, arguments) for part in PARTS}
    result = {
        **provenance(),
        "recipe": arguments.recipe,
        "aim": AIM,
        "rung_steps": arguments.steps,
        "rung_learning_rate": arguments.learning_rate,
        "qat_steps": arguments.qat_steps,
        "dense_accuracy": dense,
        "rows": rows,
    }
    if arguments.output is not None:
        write_json(arguments.output, result)
    print(table(rows))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
