"""Stage `evaluate`: predictions and metrics of task models on the splits that are reported on."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneofa.architectures.positions import longest_sequence
from pruneofa.atomic import write_json
from pruneofa.data.batches.batching import PaddingCollator
from pruneofa.data.metrics.predictions import PREDICTIONS_NAME, PREDICTIONS_VERSION
from pruneofa.data.metrics.task_metrics import TaskKind
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.encoded import EncodedDataset
from pruneofa.data.tasks.loading import Split, load_evaluations
from pruneofa.data.tasks.rows import EVALUATION
from pruneofa.data.tokenization import check_tokens_known
from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.models.engine_model import EngineModel
from pruneofa.models.heads import OUTPUTS, auto_class, kind_of_model, labels_for_task
from pruneofa.models.names import MODEL_NAMES
from pruneofa.models.opened import OpenedModel, open_model
from pruneofa.models.prediction import predict
from pruneofa.models.scoring import scored
from pruneofa.recipe.document import Recipe, required_task

logger = logging.getLogger(__name__)

METRICS_NAME = "metrics.json"

_TASK_HEADS = ("ForSequenceClassification", "ForQuestionAnswering")


@dataclass(frozen=True)
class Evaluation:
    """What a model did on a task.

    Attributes:
        metrics: by name; of further splits with the split's name behind it, `accuracy_mismatched`.
        documents: split -> what its file of predictions holds; the first is "evaluation".
    """

    metrics: dict[str, float]
    documents: dict[str, dict[str, Any]]

    def write_predictions(self, path: Path) -> None:
        """Write one file for each split: `path`, and beside it those of further splits, with their names behind it."""
        for split, document in self.documents.items():
            write_json(path if split == EVALUATION else path.with_stem(f"{path.stem}-{split}"), document)


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """Evaluate every task model of the run in float32; an int8 one in its fake-quantized form."""
    task = required_task(recipe)
    results = {}
    for artefact, name in MODEL_NAMES.items():
        if artefact in inputs:
            evaluation = evaluate_model(inputs[artefact], task)
            evaluation.write_predictions(output_dir / f"predictions-{artefact}.json")
            results[name] = evaluation.metrics
    write_json(output_dir / METRICS_NAME, {"task": task.task_name, "models": results})
    return results


def evaluate_model(path: str, task: TaskConfig, *, engine: bool = False, device: str = "cpu") -> Evaluation:
    """Metrics and predictions of one model on every split of `task` that is reported on.

    Args:
        path: a model folder, a hub name, a compressed file, or an ONNX file in the folder of its model.
        task: what to evaluate on.
        engine: computed by the engine, in place of PyTorch.
        device: where PyTorch computes.

    Raises:
        CheckpointError: the model is missing or damaged, was never trained on a task, or the engine does not run it.
        ConfigurationError: the engine is asked to run an ONNX file.
        DataError: the task is of another kind than the model, or has a label that it was not trained on.
        EngineError: the engine's compiled part is missing.
    """
    if engine and path.endswith(".onnx"):
        raise ConfigurationError(f"{path} is an ONNX file, which the engine does not run; leave the engine out")
    opened = open_model(_folder_of_onnx(path) if path.endswith(".onnx") else path)
    tokenizer = opened.tokenizer()
    config = opened.config()
    kind = _kind(config, task)
    if kind == "question_answering" and config.num_labels != 2:
        raise CheckpointError(
            f"model {path!r}: its head for question answering has {config.num_labels} rows, 2 are needed (start and "
            "end); give a model that was trained for it"
        )
    model = _load(path, opened, config, kind, engine).to(device)
    labels = labels_for_task(f"model {path!r}", model.config, task)
    names = None if labels is None else list(labels.names)
    metrics: dict[str, float] = {}
    documents = {}
    splits, dropped = load_evaluations(task, kind, tokenizer, labels, longest_sequence(model))
    for split, data in splits.items():
        check_tokens_known(data.input_ids, tokenizer, config.vocab_size)
        predictions = predict(model, data, PaddingCollator(tokenizer.pad_token_id), OUTPUTS[kind])
        _check_rows(path, predictions, kind, names)
        _tell_unlabelled(split, data)
        found, records = scored(task, kind, data, predictions, names)
        suffix = "" if split == EVALUATION else f"_{split}"
        metrics |= {f"{name}{suffix}": value for name, value in found.items()}
        documents[split] = {
            "format_version": PREDICTIONS_VERSION,
            "task": task.task_name,
            "split": split,
            "kind": kind,
            "metrics": found,
            "label_names": names,
            **({"unlabelled": missing} if (missing := _unlabelled(data)) else {}),
            **({"dropped": dropped[split]} if split in dropped else {}),
            "examples": records,
        }
    return Evaluation(metrics, documents)


def _check_rows(path: str, predictions: Mapping[str, Any], kind: TaskKind, names: list[str] | None) -> None:
    """A file that the folder's config.json does not describe has more or fewer rows than that has names."""
    rows = 1 if names is None else len(names)
    if kind != "question_answering" and (found := len(predictions["logits"][0])) != rows:
        raise CheckpointError(
            f"{path}: its head has {found} rows, its config.json describes {rows}; give the config (id2label) of this "
            "model"
        )


def _unlabelled(data: Split) -> int:
    """How many examples have no label."""
    return int((~data.labelled).sum()) if isinstance(data, EncodedDataset) else 0


def _tell_unlabelled(split: str, data: Split) -> None:
    """Say what the metrics leave out."""
    if missing := _unlabelled(data):
        logger.warning(
            "%s: %s rows have no label: %s",
            split,
            f"all {missing}" if missing == len(data) else f"{missing} of {len(data)}",
            "predictions without metrics" if missing == len(data) else "metrics are on the others",
        )


def _folder_of_onnx(path: str) -> str:
    """The folder of an ONNX file, where the model's config.json and tokenizer lie."""
    folder = Path(path).parent
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such ONNX file; write it with `pruneofa export`")
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{path}: beside an ONNX file must lie its model's config.json and tokenizer files, {folder} has no "
            "config.json; copy them there from the folder that was exported, or evaluate the file there"
        )
    return str(folder)


def _load(path: str, opened: OpenedModel, config: Any, kind: TaskKind, engine: bool) -> Any:
    if path.endswith(".onnx"):
        from pruneofa.export.runtime import OnnxModel

        return OnnxModel(path, config)
    if engine:
        return EngineModel(path, config)
    return opened.model(auto_class(kind), head_is_trained=True)


def evaluate_into(
    output_dir: Path, path: str, task: TaskConfig, *, engine: bool = False, overwrite: bool = False
) -> dict[str, float]:
    """As `evaluate_model`; metrics and predictions are left in `output_dir`, the metrics are returned.

    Args:
        output_dir: a new or empty folder, or one of an earlier evaluation of the same model on the same task.
        path: a model folder, a hub name, or a compressed file.
        task: what to evaluate on.
        engine: computed by the engine, in place of PyTorch.
        overwrite: the folder may hold the evaluation of something else.

    Raises:
        ConfigurationError: the folder holds anything else.
    """
    _check_free(output_dir, path, task, overwrite)
    evaluation = evaluate_model(path, task, engine=engine)
    evaluation.write_predictions(output_dir / PREDICTIONS_NAME)
    dropped = {name: found["dropped"] for name, found in evaluation.documents.items() if "dropped" in found}
    told = {"model": path, "task": task.task_name, "metrics": evaluation.metrics}
    write_json(output_dir / METRICS_NAME, told | ({"dropped": dropped} if dropped else {}))
    return evaluation.metrics


def _kind(config: Any, task: TaskConfig) -> TaskKind:
    """The kind of a model; one that no task has made (a bare encoder) is taken for the task's, and refused later."""
    kind = kind_of_model(config)
    architectures = getattr(config, "architectures", None) or ()
    if task.kind == "auto" or any(str(name).endswith(_TASK_HEADS) for name in architectures):
        return kind
    return task.kind


def _check_free(folder: Path, path: str, task: TaskConfig, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"output_dir {str(folder)!r} is a file; give a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    held = folder / METRICS_NAME
    predictions = Path(PREDICTIONS_NAME).stem
    if any(file.name != METRICS_NAME and not file.name.startswith(predictions) for file in folder.iterdir()):
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
