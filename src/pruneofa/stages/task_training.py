"""What `finetune`, `transfer` and `quantize` share: training a classification model on the recipe's task."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pruneofa.atomic import replacing_file
from pruneofa.data.batching import PaddingCollator
from pruneofa.data.encoded import EncodedDataset
from pruneofa.data.metrics import classification_metrics
from pruneofa.data.tasks import ClassificationData, TaskConfig, load_classification
from pruneofa.distillation.config import DistillationConfig
from pruneofa.distillation.distiller import Distiller
from pruneofa.errors import ConfigurationError, DataError
from pruneofa.recipe import Recipe
from pruneofa.stages.models import load_config, load_model, load_tokenizer, longest_sequence
from pruneofa.stages.record import STATE_FOLDER
from pruneofa.training.config import TrainingConfig, uses_bfloat16
from pruneofa.training.prediction import WithTeacherLogits, predict_logits

_LOGITS_NAME = "train_logits.safetensors"


def required_task(recipe: Recipe) -> TaskConfig:
    """The recipe's task.

    Raises:
        ConfigurationError: it has none.
    """
    if recipe.task is None:
        raise ConfigurationError(
            "task: is missing; give --train_file and --validation_file, or a recipe with the section task"
        )
    return recipe.task


def load_task_model(
    model_path: str, task: TaskConfig, *, head_is_trained: bool = False
) -> tuple[Any, Any, ClassificationData]:
    """Tokenizer, model with a head for the task's labels, and the tokenised task.

    Args:
        model_path: the model to start from.
        task: its data.
        head_is_trained: the model has learned this task already, so its labels must be the data's.

    Raises:
        CheckpointError: as `load_model`.
        DataError: as `load_classification`; the model was trained on other labels.
    """
    from transformers import AutoModelForSequenceClassification

    tokenizer = load_tokenizer(model_path)
    config = load_config(model_path)
    data = load_classification(task, tokenizer, longest_sequence(config))
    if head_is_trained:
        _check_labels(f"model {model_path!r}", config, data.label_names)
    model = load_model(
        AutoModelForSequenceClassification,
        model_path,
        head_is_trained=head_is_trained,
        id2label=dict(enumerate(data.label_names)),
        label2id={name: index for index, name in enumerate(data.label_names)},
    )
    return tokenizer, model, data


def with_teacher(
    section: str,
    distillation: DistillationConfig | None,
    teacher_path: str | None,
    student: Any,
    train: EncodedDataset,
    pad_token_id: int,
    training: TrainingConfig,
) -> tuple[Distiller | None, Any]:
    """The distiller of a stage, and its training examples with the teacher's logits beside them.

    The teacher sees no dropout and the examples don't change, so its answers are computed once. A teacher whose hidden
    states or attentions are learned from must run along.

    Raises:
        ConfigurationError: distillation is on and there is no teacher.
        DataError: the teacher knows other labels, or in another order.
    """
    if distillation is None:
        return None, train
    if teacher_path is None:
        raise ConfigurationError(
            f"teacher: {section}.distillation is on, but there is no task teacher; add the finetune stage, name one "
            f"with --teacher_name_or_path, or set {section}.distillation to null"
        )
    from transformers import AutoModelForSequenceClassification

    teacher = load_model(AutoModelForSequenceClassification, teacher_path, head_is_trained=True)
    labels = [student.config.id2label[index] for index in range(student.config.num_labels)]
    _check_labels(f"teacher {teacher_path!r}", teacher.config, labels)
    if distillation.needs_features:
        return Distiller(teacher, distillation, student=student), train
    logits = stored_logits(Path(teacher_path), train)
    if logits is None:
        logits = teacher_logits(teacher, train, pad_token_id, training)
    return Distiller(None, distillation), WithTeacherLogits(train, logits)


def _check_labels(whose: str, config: Any, labels: list[str]) -> None:
    """A model's classes must be the task's, in the same order; LABEL_0 ..., which nobody named, fit any task."""
    known = [str(config.id2label[index]) for index in range(config.num_labels)]
    unnamed = known == [f"LABEL_{index}" for index in range(len(known))]
    if known != labels and not (unnamed and len(known) == len(labels)):
        raise DataError(
            f"{whose} knows the labels {', '.join(known)}, the task has {', '.join(labels)}; they must be the same in "
            "the same order: fine-tune it on this task, or set task.label_names to its labels"
        )


def teacher_logits(
    teacher: Any, train: EncodedDataset, pad_token_id: int, training: TrainingConfig
) -> npt.NDArray[np.float32]:
    """A teacher's logits on the training examples."""
    return predict_logits(
        teacher,
        train,
        PaddingCollator(pad_token_id),
        batch_size=training.per_device_eval_batch_size,
        bfloat16=uses_bfloat16(training),
    )


def store_logits(folder: Path, train: EncodedDataset, logits: npt.NDArray[np.float32]) -> None:
    """Keep a teacher's logits in its folder for those who learn from it on the same examples."""
    with replacing_file(folder / STATE_FOLDER / _LOGITS_NAME) as temporary:
        save_file({"logits": logits}, temporary, metadata={"examples": _digest(train)})


def stored_logits(folder: Path, train: EncodedDataset) -> npt.NDArray[np.float32] | None:
    """Logits that `store_logits` left for exactly these examples, if any."""
    path = folder / STATE_FOLDER / _LOGITS_NAME
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            if (file.metadata() or {}).get("examples") != _digest(train):
                return None
            logits: npt.NDArray[np.float32] = file.get_tensor("logits")
    except (SafetensorError, OSError):
        return None
    return logits if len(logits) == len(train) else None


def metrics_of(task: TaskConfig, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, and the task's own metric where that is another."""
    return classification_metrics(logits, labels, list(dict.fromkeys(["accuracy", task.metric])))


def _digest(train: EncodedDataset) -> str:
    """SHA-256 of the token ids and labels of the examples, in order."""
    state = hashlib.sha256(train.labels.tobytes())
    for ids in train.input_ids:
        state.update(len(ids).to_bytes(4, "little"))
        state.update(ids.tobytes())
    return state.hexdigest()
