"""Stage `evaluate`: predictions and metrics of task models on the evaluation split."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneofa.atomic import write_json
from pruneofa.checkpoint.decompress import decompress
from pruneofa.data.batching import PaddingCollator
from pruneofa.data.tasks import TaskConfig, load_split
from pruneofa.errors import ConfigurationError, DataError
from pruneofa.recipe import Recipe
from pruneofa.stages.models import load_any, load_tokenizer, longest_sequence
from pruneofa.stages.task_training import metrics_of, required_task
from pruneofa.training.prediction import predict_logits

METRICS_NAME = "metrics.json"
PREDICTIONS_NAME = "predictions.json"
# The artefacts that a run may have, in the order in which they are shown.
MODEL_NAMES = {"task_teacher": "dense", "task_model": "sparse", "int8_model": "sparse int8"}


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """Evaluate every task model of the run in float32; an int8 one in its fake-quantized form."""
    task = required_task(recipe)
    results = {}
    for artefact, name in MODEL_NAMES.items():
        if artefact in inputs:
            results[name] = evaluate_model(inputs[artefact], task, output_dir / f"predictions-{artefact}.json")
    write_json(output_dir / METRICS_NAME, {"task": task.task_name, "models": results})
    return results


def evaluate_model(path: str, task: TaskConfig, predictions_path: Path | None = None) -> dict[str, float]:
    """Metrics of one model on `task.evaluation`; its predictions go to `predictions_path`.

    Args:
        path: a model folder, a hub name, or a compressed file.
        task: what to evaluate on.
        predictions_path: JSON file with one entry for each example, in the data's order.

    Raises:
        CheckpointError: the model is missing or damaged, or was never trained on a task.
        DataError: the evaluation data has a label that the model was not trained on.
    """
    from transformers import AutoModelForSequenceClassification

    if path.endswith(".pofa"):
        with tempfile.TemporaryDirectory() as folder:
            decompress(path, Path(folder) / "model")
            return evaluate_model(str(Path(folder) / "model"), task, predictions_path)
    tokenizer = load_tokenizer(path)
    model = load_any(AutoModelForSequenceClassification, path, head_is_trained=True)
    names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    if task.label_names is not None and sorted(names) != sorted(task.label_names):
        raise DataError(f"model {path!r} knows the labels {names}, the task names {task.label_names}")
    split = load_split(task.evaluation, task, tokenizer, names, longest_sequence(model))
    logits = predict_logits(model, split, PaddingCollator(tokenizer.pad_token_id))
    if predictions_path is not None:
        write_json(predictions_path, _predictions(split.labels, logits, names))
    return metrics_of(task, logits, split.labels)


def evaluate_into(output_dir: Path, path: str, task: TaskConfig, *, overwrite: bool = False) -> dict[str, float]:
    """As `evaluate_model`; metrics and predictions are left in `output_dir`.

    Args:
        output_dir: a new or empty folder, or one of an earlier evaluation of the same model on the same task.
        path: a model folder, a hub name, or a compressed file.
        task: what to evaluate on.
        overwrite: the folder may hold the evaluation of something else.

    Raises:
        ConfigurationError: the folder holds anything else.
    """
    _check_free(output_dir, path, task, overwrite)
    metrics = evaluate_model(path, task, output_dir / PREDICTIONS_NAME)
    write_json(output_dir / METRICS_NAME, {"model": path, "task": task.task_name, "metrics": metrics})
    return metrics


def _check_free(folder: Path, path: str, task: TaskConfig, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"output_dir {str(folder)!r} is a file; give a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    held = folder / METRICS_NAME
    if {file.name for file in folder.iterdir()} - {METRICS_NAME, PREDICTIONS_NAME}:
        raise ConfigurationError(
            f"output_dir {str(folder)!r} holds files that no evaluation wrote; choose another --output_dir"
        )
    try:
        earlier = json.loads(held.read_text(encoding="utf-8"))
        known = (earlier["model"], earlier["task"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    if known != (path, task.task_name) and not overwrite:
        raise ConfigurationError(
            f"output_dir {str(folder)!r} holds the evaluation of {known[0]!r} on {known[1]!r}; choose another "
            "--output_dir, or pass --overwrite_output_dir to replace it"
        )


def _predictions(
    labels: npt.NDArray[np.int64], logits: npt.NDArray[np.float32], names: list[str]
) -> list[dict[str, Any]]:
    return [
        {"label": names[label], "prediction": names[int(row.argmax())], "logits": [float(value) for value in row]}
        for label, row in zip(labels, logits, strict=True)
    ]
