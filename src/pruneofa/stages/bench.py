"""Stage `bench`, and `pruneofa bench`: the engine's speed beside other runtimes, in one run."""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruneofa.atomic import write_json
from pruneofa.benchmarking.bench import bench_model
from pruneofa.benchmarking.config import BenchConfig
from pruneofa.benchmarking.contestants import ENGINE, Contestant
from pruneofa.benchmarking.forms import dense_contestants
from pruneofa.benchmarking.peers import missing_packages
from pruneofa.data.metrics.predictions import compare
from pruneofa.data.sources.rows import Row, text_value
from pruneofa.data.tasks.columns import columns_of, label_of
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.labels import LabelSet
from pruneofa.data.tasks.presets import Columns
from pruneofa.data.tasks.rows import EVALUATION, read_evaluation_rows
from pruneofa.engine.engine import Engine
from pruneofa.errors import CheckpointError, EngineError
from pruneofa.recipe.document import Recipe, required_task
from pruneofa.stages.evaluate import evaluate_model

__all__ = ["run"]

logger = logging.getLogger(__name__)

DOCUMENT_NAME = "bench.json"
_FILES = {"int8_model": "sparse int8", "task_model": "sparse"}
"""Models, the smallest first: what their files are called, and their names."""
_RUNTIME_NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch", ENGINE: "engine"}
_TEXTS = 3


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
    rows = read_evaluation_rows(task, "classification")[0][EVALUATION]
    columns = columns_of(task, rows[0])
    chosen = [rows[len(rows) * place // _TEXTS] for place in range(min(_TEXTS, len(rows)))]
    texts = [_text(row, columns) for row in chosen]
    found = engine.classify(texts)
    labels = LabelSet.of_model(engine.labels, task.label_names)
    return [
        {
            "text": text if isinstance(text, str) else " | ".join(text),
            "label": answer.label,
            "score": answer.score,
            "expected": _expected(row, columns, labels),
        }
        for row, text, answer in zip(chosen, texts, found, strict=True)
    ]


def _expected(row: Row, columns: Columns, labels: LabelSet | None) -> str:
    """The right answer, by the name that the engine gives it."""
    text = label_of(row, columns)
    number = None if text is None or labels is None else labels.row(text)
    return labels.names[number] if labels is not None and number is not None else text or ""


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
