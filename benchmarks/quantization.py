"""What int8 costs and saves: a sparse task model in float beside its calibrated and trained int8 forms.

Each variant is a setting of `pruneofa quantize`, made from the same sparse task model (and, for training, the same
dense teacher), evaluated, and written as a packed file. Every variant is kept in the work folder, so this can be broken
off and called again. Settings are compared on the selection part, which the model must not have been trained on; the
evaluation part is for reporting.

    python benchmarks/quantization.py --model RUN/transfer --teacher RUN/finetune --output results/quantization.json \
        --set task.train=rotten_tomatoes:fit --set task.also_evaluate.selection=rotten_tomatoes:selection
"""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from provenance import provenance

from pruneofa.atomic import write_json
from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.models.folder_compression import compress_model
from pruneofa.recipe.document import Recipe, required_task
from pruneofa.recipe.files import load_recipe
from pruneofa.stages.evaluate import evaluate_model
from pruneofa.workflow.execution import execute
from pruneofa.workflow.record import StageRecord, read_record
from pruneofa.workflow.stage_list import STAGES

CALIBRATED: dict[str, Any] = {"method": "calibration"}
PER_TENSOR = {"weight_granularity": "per_tensor"}
PRODUCTS = {"attention_products": True}
EMBEDDINGS = {"embeddings": "per_row"}

# Name -> keys of the section quantize, those of quantization apart.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "calibrated, moving average": (CALIBRATED, {}),
    "calibrated, minimum and maximum": (CALIBRATED, {"activation_range": "minmax"}),
    "calibrated, percentile": (CALIBRATED, {"activation_range": "percentile"}),
    "calibrated, least squares": (CALIBRATED, {"activation_range": "mse"}),
    "calibrated, weights by least squares": (CALIBRATED, {"weight_scale": "mse"}),
    "calibrated, per tensor": (CALIBRATED, PER_TENSOR),
    "calibrated, attention products": (CALIBRATED, PRODUCTS),
    "calibrated, embeddings": (CALIBRATED, EMBEDDINGS),
    "calibrated, embeddings per table": (CALIBRATED, {"embeddings": "per_tensor"}),
    "calibrated, embeddings in 4 bits": (CALIBRATED, {**EMBEDDINGS, "embedding_bits": 4}),
    "trained": ({}, {}),
    "trained, per tensor": ({}, PER_TENSOR),
    "trained, authors' scheme": ({}, {**PER_TENSOR, "weight_range": "symmetric_127.5"}),
    "trained, least squares": ({}, {"activation_range": "mse"}),
    "trained, attention products": ({}, PRODUCTS),
    "trained, products and embeddings": ({}, {**PRODUCTS, **EMBEDDINGS}),
    "trained, products and embeddings in 4 bits": ({}, {**PRODUCTS, **EMBEDDINGS, "embedding_bits": 4}),
    "trained, per tensor, step 4": ({}, {**PER_TENSOR, "weight_step": 4.0}),
    "trained, per tensor, step 8": ({}, {**PER_TENSOR, "weight_step": 8.0}),
    "trained, per tensor, step 16": ({}, {**PER_TENSOR, "weight_step": 16.0}),
    "trained, per tensor, 4 bits a value": ({"value_bits": 4.0}, PER_TENSOR),
    "trained, per tensor, 3 bits a value": ({"value_bits": 3.0}, PER_TENSOR),
    "trained, per tensor, 2.5 bits a value": ({"value_bits": 2.5}, PER_TENSOR),
    "trained, 5 bits": ({}, {"weight_bits": 5}),
    "trained, 4 bits": ({}, {"weight_bits": 4}),
}


def variant_recipe(name: str, overrides: list[str], variant: str) -> Recipe:
    """The recipe with a variant's keys above those of its own section quantize."""
    section, quantization = VARIANTS[variant]
    keys = {f"quantize.{key}": value for key, value in section.items()}
    keys |= {f"quantize.quantization.{key}": value for key, value in quantization.items()}
    return load_recipe(name, [*overrides, *(f"{key}={json.dumps(value)}" for key, value in keys.items())])


def measure(model: Path, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Metrics and sizes of a model folder; the metrics are kept beside it, and taken from there the next time."""
    kept = folder.with_suffix(".json")
    if kept.exists():
        metrics = json.loads(kept.read_text(encoding="utf-8"))["metrics"]
    else:
        metrics = evaluate_model(str(model), required_task(recipe)).metrics
        write_json(kept, {"metrics": metrics})
    packed = folder.with_suffix(".pofa")
    compress_model(str(model), str(packed), form="packed")
    sizes = inspect_model(packed).as_dict()
    shown = ("encoder_sparsity", "bytes_encoder", "bytes_scales", "entropy_bound_bytes", "bytes_total")
    return {"metrics": metrics, **{key: sizes[key] for key in (*shown, "nominal_ratio", "real_ratio")}}


def run_variant(variant: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Make, evaluate and pack one variant."""
    recipe = variant_recipe(arguments.recipe, arguments.set, variant)
    folder = arguments.work / variant.replace(",", "").replace("'", "").replace(" ", "-")
    if arguments.kept:
        return {"variant": variant, **facts_of(read_record(folder)), **measure(folder, recipe, folder)}
    inputs = {"task_model": str(arguments.model), "task_teacher": str(arguments.teacher)}
    before = (folder / ".stage" / "record.json").exists()
    record = execute(STAGES["quantize"], recipe, inputs, folder, replace_stale=True)
    stamp = folder.with_suffix(".fingerprint")
    if not before or not stamp.exists() or stamp.read_text(encoding="utf-8") != record.fingerprint:
        folder.with_suffix(".json").unlink(missing_ok=True)
        stamp.write_text(record.fingerprint, encoding="utf-8")
    return {"variant": variant, **facts_of(record), **measure(folder, recipe, folder)}


def facts_of(record: StageRecord | None) -> dict[str, Any]:
    """What a stage's record says of a variant."""
    if record is None or not record.finished:
        raise SystemExit("a variant was not finished; leave --kept out")
    done = record.results["quantization"]
    return {"done": done["text"], "kept_weights_at_zero": done["kept_weights_at_zero"], "seconds": record.seconds}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text."""
    names = list(rows[0]["metrics"])
    lines = [f"{'variant':<46}" + "".join(f"{name:>20}" for name in names) + f"{'encoder':>12}{'file':>12}{'ratio':>8}"]
    for row in rows:
        metrics = "".join(f"{100 * row['metrics'][name]:>20.2f}" for name in names)
        ratio = row["real_ratio"]
        lines.append(f"{row['variant']:<46}{metrics}{row['bytes_encoder']:>12,}{row['bytes_total']:>12,}{ratio:>7.1f}x")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a sparse task model")
    parser.add_argument("--teacher", type=Path, required=True, help="folder of the dense task model")
    parser.add_argument("--recipe", default="demo", help="whose sections task and quantize hold")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key; repeatable")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), help="which (default: all)")
    parser.add_argument("--kept", action="store_true", help="report what the work folder holds, from older code too")
    parser.add_argument("--work", type=Path, default=Path("runs/quantization"))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("pruneofa").setLevel(logging.INFO)
    unknown = set(arguments.variants) - set(VARIANTS)
    if unknown:
        parser.error(f"unknown variant {sorted(unknown)[0]!r}; known: {', '.join(VARIANTS)}")
    arguments.work.mkdir(parents=True, exist_ok=True)
    base = load_recipe(arguments.recipe, arguments.set)
    sparse = measure(arguments.model, base, arguments.work / "float")
    rows = [{"variant": "float sparse", "done": "float32", "kept_weights_at_zero": 0, "seconds": 0.0, **sparse}]
    rows += [run_variant(variant, arguments) for variant in arguments.variants]
    result = {**provenance(), "recipe": arguments.recipe, "set": arguments.set, "rows": rows}
    if arguments.output is not None:
        write_json(arguments.output, result)
    print(table(rows))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
