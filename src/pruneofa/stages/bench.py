"""Stage `bench`, and `pruneofa bench`: the engine's speed beside other runtimes, in one run."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pruneofa import machine
from pruneofa.atomic import write_json
from pruneofa.benchmarking.competition import compete
from pruneofa.benchmarking.config import BenchConfig
from pruneofa.benchmarking.contestants import ENGINE, Contestant
from pruneofa.benchmarking.peers import missing_packages, require_peers
from pruneofa.benchmarking.verdict import verdict
from pruneofa.data.rows import Row, column_value, text_value
from pruneofa.data.task_config import TaskConfig
from pruneofa.data.task_presets import Columns
from pruneofa.data.task_rows import EVALUATION, columns_of, read_evaluation_rows
from pruneofa.engine.engine import Engine
from pruneofa.engine.native import active_kernel
from pruneofa.errors import CheckpointError, EngineError
from pruneofa.recipe import Recipe
from pruneofa.stages.bench_models import dense_contestants, prepare_model
from pruneofa.stages.compare import compare
from pruneofa.stages.evaluate import evaluate_model
from pruneofa.stages.task_training import required_task

__all__ = ["bench_model", "run"]

logger = logging.getLogger(__name__)

DOCUMENT_NAME = "bench.json"
_FILES = {"int8_model": "sparse int8", "task_model": "sparse"}
"""Models, the smallest first: what their files are called, and their names."""
_RUNTIME_NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch", ENGINE: "engine"}
_TEXTS = 3


def bench_model(
    path: str,
    config: BenchConfig,
    *,
    work_dir: Path | None = None,
    name: str | None = None,
    kernel: str | None = None,
    beside: Sequence[Contestant] = (),
) -> dict[str, Any]:
    """Time a model on the engine and on the peers.

    Args:
        path: A compressed file or a model folder.
        config: Shapes, threads, peers, repeats.
        work_dir: Keeps the peers' files for the next time; None: they go when it is done.
        name: Of the model, in the document.
        kernel: The engine's kernel set; None: the best.
        beside: Further contestants, of other models.

    Returns:
        The document: `model`, `settings`, `machine`, `packages`, `kernel`, `loads`, `cases`, `faults`, `verdict`.

    Raises:
        CheckpointError: The model is missing or damaged.
        ConfigurationError: A peer is not installed, a length is beyond the model's, or its head is unknown.
        EngineError: The engine's compiled part is missing, or the engine can't run the model.
    """
    active_kernel(kernel)
    require_peers(config.peers)
    if work_dir is None:
        with tempfile.TemporaryDirectory() as folder:
            return bench_model(path, config, work_dir=Path(folder), name=name, kernel=kernel, beside=beside)
    prepared = prepare_model(path, config.peers, work_dir, name=name, kernel=kernel)
    found = compete((*prepared.contestants, *beside), prepared.facts, config)
    document: dict[str, Any] = {
        "benchmark": "bench",
        "model": prepared.description,
        "settings": config.model_dump(mode="json"),
        "machine": machine.describe(),
        "packages": {**machine.package_versions(), **_versions(found["loads"])},
        "kernel": next(row["facts"]["kernel"] for row in found["loads"] if "kernel" in row["facts"]),
        **found,
    }
    _add_rates(document)
    document["verdict"] = verdict(document)
    return document


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """Time the run's models: the dense one in ONNX Runtime, the smallest sparse one in the engine and in the peers.

    Without the engine's compiled part, or with a model that it does not run, this says so and times nothing; a peer
    that is not installed is left out.
    """
    config = recipe.bench or BenchConfig()
    task = required_task(recipe)
    file = next(path for name in _FILES if (path := Path(inputs["compressed"]) / f"{name}.pofa").exists())
    notes = []
    for peer in config.peers:
        if missing := missing_packages(peer):
            notes.append(f"Speed: {_RUNTIME_NAMES[peer]} is left out, since {missing[0]!r} is not installed.")
    peers = tuple(peer for peer in config.peers if not missing_packages(peer))
    try:
        document = _bench_run(file, inputs, config.model_copy(update={"peers": peers}))
        answers = _answers(file, task)
        if "evaluation" in inputs:
            notes.append(
                _agreement(file, task, Path(inputs["evaluation"]) / f"predictions-{file.stem}.json", output_dir)
            )
    except (CheckpointError, EngineError) as error:
        logger.warning("bench: skipped: %s", error)
        return {"speed": [], "answers": [], "notes": [*notes, f"Speed was not measured: {error}"]}
    write_json(output_dir / DOCUMENT_NAME, document)
    return {"speed": _speed_rows(document), "answers": answers, "notes": [*notes, *document["verdict"]]}


def _bench_run(file: Path, inputs: Mapping[str, str], config: BenchConfig) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        beside: tuple[Contestant, ...] = ()
        if "task_teacher" in inputs and "onnxruntime" in config.peers:
            beside = dense_contestants(inputs["task_teacher"], Path(folder) / "dense")
        return bench_model(str(file), config, work_dir=Path(folder) / "sparse", name=_FILES[file.stem], beside=beside)


def _speed_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    keys = ("median_seconds", "p95_seconds", "items_per_second", "ratio")
    return [
        {
            "model": row["model"],
            "runtime": f"{_RUNTIME_NAMES[row['name']]}, {row['form']}",
            **{key: case[key] for key in ("batch", "length", "threads")},
            **{key: row[key] for key in keys},
        }
        for case in document["cases"]
        for row in case["rows"]
    ]


def _answers(file: Path, task: TaskConfig) -> list[dict[str, Any]]:
    """What the engine says of a few texts of the evaluation split; nothing for tasks without classes."""
    engine = Engine.load(file)
    if engine.task != "classify" or len(engine.labels) < 2:
        return []
    rows = read_evaluation_rows(task)[0][EVALUATION]
    columns = columns_of(task, rows[0])
    chosen = [rows[len(rows) * place // _TEXTS] for place in range(min(_TEXTS, len(rows)))]
    texts = [_text(row, columns) for row in chosen]
    found = engine.classify(texts)
    return [
        {
            "text": text if isinstance(text, str) else " | ".join(text),
            "label": answer.label,
            "score": answer.score,
            "expected": str(column_value(row, columns.label)),
        }
        for row, text, answer in zip(chosen, texts, found, strict=True)
    ]


def _agreement(file: Path, task: TaskConfig, predictions: Path, output_dir: Path) -> str:
    """What the engine makes of the whole evaluation split, beside what PyTorch made of it."""
    evaluation = evaluate_model(str(file), task, engine=True)
    own = output_dir / predictions.name
    evaluation.write_predictions(own)
    (found,) = (split for split in compare(str(predictions), str(own)) if split.split == EVALUATION)
    told = [f"{each.metric} {each.second:.4f} (PyTorch: {each.first:.4f})" for each in found.metrics]
    if found.counts:  # not of a regression, whose numbers differ in the last place
        told.append(f"{100 * (1 - len(found.disagreements) / found.examples):.2f} % equal answers")
    return f"The engine on all {found.examples:,} examples of the evaluation split: {', '.join(told)}."


def _text(row: Row, columns: Columns) -> str | tuple[str, str]:
    first = text_value(row, columns.text)
    return first if columns.pair is None else (first, text_value(row, columns.pair))


def _add_rates(document: dict[str, Any]) -> None:
    """Add the engine's rates to its rows: products a second that it did, and that a dense model would have taken."""
    model = document["model"]
    for case in document["cases"]:
        tokens = case["batch"] * case["length"]
        pairs = tokens * case["length"]
        attention = pairs * model["products_per_pair_of_tokens"]
        done = tokens * model["nonzero_products_per_token"] + attention
        first = model["first_tokens_only"]
        if first is not None:
            done -= (tokens - case["batch"]) * first["nonzero_products_per_token"]
            done -= (pairs - tokens) * first["products_per_pair_of_tokens"]
        row = case["rows"][0]
        row["actual_products_per_second"] = done / row["median_seconds"]
        row["dense_equivalent_products_per_second"] = (tokens * model["products_per_token"] + attention) / row[
            "median_seconds"
        ]


def _versions(loads: list[Mapping[str, Any]]) -> dict[str, str]:
    return {row["name"]: row["facts"]["version"] for row in loads if "version" in row["facts"]}
