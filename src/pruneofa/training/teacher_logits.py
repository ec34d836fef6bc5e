"""A teacher's logits on the training examples: computed once, kept in its folder, carried by the examples."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch.utils.data import Dataset

from pruneofa.atomic import replacing_file
from pruneofa.data.batches.batching import PaddingCollator
from pruneofa.data.tasks.encoded import EncodedDataset
from pruneofa.data.tasks.loading import Split, TaskData
from pruneofa.errors import DataError
from pruneofa.models.heads import OUTPUTS
from pruneofa.models.prediction import predict
from pruneofa.stage_folder import STATE_FOLDER
from pruneofa.training.config import TrainingConfig, uses_bfloat16

__all__ = ["Logits", "WithTeacherLogits", "store_logits", "stored_logits", "teacher_logits"]

_LOGITS_NAME = "train_logits.safetensors"
FloatArray = npt.NDArray[np.float32]
Logits = Mapping[str, Sequence[FloatArray]]
"""Name of a teacher's output -> a row for each training example."""


class WithTeacherLogits(Dataset[dict[str, Any]]):
    """A data set whose examples also carry the teacher's logits, so that the teacher need not run again.

    Args:
        dataset: the examples; its teacher saw them without dropout, so its answer never changes.
        logits: for each name of the teacher's output ("logits", "start_logits" ...) a row for every example, in the
            data set's order; an example carries it as `teacher_logits`, `teacher_start_logits` ...

    Raises:
        DataError: there are more or fewer logits than examples.
    """

    def __init__(self, dataset: Any, logits: Mapping[str, Sequence[FloatArray] | FloatArray]) -> None:
        for rows in logits.values():
            if len(dataset) != len(rows):
                raise DataError(
                    f"there are {len(rows)} rows of teacher logits for {len(dataset)} examples; compute them on these"
                )
        self._dataset = dataset
        self._logits = logits
        self.lengths = dataset.lengths

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        index = key[1] if isinstance(key, tuple) else key
        taught = {f"teacher_{name}": rows[index].tolist() for name, rows in self._logits.items()}
        return {**self._dataset[key], **taught}


def teacher_logits(teacher: Any, data: TaskData, pad_token_id: int, training: TrainingConfig) -> Logits:
    """A teacher's logits on the training examples."""
    return predict(
        teacher,
        data.train,
        PaddingCollator(pad_token_id),
        OUTPUTS[data.kind],
        batch_size=training.per_device_eval_batch_size,
        bfloat16=uses_bfloat16(training),
    )


def store_logits(folder: Path, train: Split, logits: Logits) -> None:
    """Keep a teacher's logits in its folder for those who learn from it on the same examples."""
    arrays = {}
    for name, rows in logits.items():
        arrays[name] = np.concatenate([np.ravel(row) for row in rows]).astype(np.float32)
        arrays[f"{name}.sizes"] = np.array([row.size for row in rows], dtype=np.int32)
    with replacing_file(folder / STATE_FOLDER / _LOGITS_NAME) as temporary:
        save_file(arrays, temporary, metadata={"examples": _digest(train)})


def stored_logits(folder: Path, train: Split) -> Logits | None:
    """Logits that `store_logits` left for exactly these examples, if any."""
    path = folder / STATE_FOLDER / _LOGITS_NAME
    if not path.is_file():
        return None
    found: dict[str, list[npt.NDArray[np.float32]]] = {}
    try:
        with safe_open(path, framework="np") as file:
            if (file.metadata() or {}).get("examples") != _digest(train):
                return None
            for name in list(file.keys()):  # the reader is no mapping
                if not name.endswith(".sizes"):
                    sizes = file.get_tensor(f"{name}.sizes")
                    found[name] = np.split(file.get_tensor(name), np.cumsum(sizes)[:-1])
    except (SafetensorError, OSError, ValueError):
        return None
    return found if found and all(len(rows) == len(train) for rows in found.values()) else None


def _digest(train: Split) -> str:
    """SHA-256 of the token ids and labels of the examples, in order."""
    labels = train.labels if isinstance(train, EncodedDataset) else train.spans
    state = hashlib.sha256(labels.tobytes())
    for ids in train.input_ids:
        state.update(len(ids).to_bytes(4, "little"))
        state.update(ids.tobytes())
    return state.hexdigest()
