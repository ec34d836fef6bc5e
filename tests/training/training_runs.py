"""Small runs of every kind of training, and what of them must not depend on interruptions."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

from pruneofa.architectures.linears import encoder_linears
from pruneofa.data.batches.batching import EpochBatchSampler, PaddingCollator
from pruneofa.data.pretraining.masking import masked_example
from pruneofa.distillation.config import DistillationConfig
from pruneofa.distillation.distiller import Distiller
from pruneofa.quantization.qat import prepare_qat
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.sparsity.lock import lock_pattern
from pruneofa.sparsity.pruner import Pruner
from pruneofa.training.config import TrainingConfig, training_arguments
from pruneofa.training.objectives import MaskedLanguageModeling, TaskLoss
from pruneofa.training.rewinding import REWINDING_SCHEDULES
from pruneofa.training.teacher_logits import WithTeacherLogits
from pruneofa.training.trainer.sparse_trainer import SparseTrainer

SEED = 5
VOCABULARY = 60
# Seven batches are four optimizer steps, the last of one batch: ten steps are two epochs and a half.
EXAMPLES, BATCH, ACCUMULATION, STEPS = 28, 4, 2, 10
SPARSITY = SparsityConfig(target_sparsity=0.7, begin_step=0, end_step=6, update_every=2, freeze_step=8)
TRAINING = TrainingConfig(
    max_steps=STEPS,
    per_device_train_batch_size=BATCH,
    gradient_accumulation_steps=ACCUMULATION,
    learning_rate=2e-3,
    warmup_ratio=0.1,
    logging_steps=3,
    eval_steps=5,
    save_steps=2,
    save_total_limit=2,
    precision="float32",
)


class Blocks(Dataset[dict[str, list[int]]]):
    """Made-up sequences, masked as a pure function of epoch and index."""

    def __init__(self, count: int = EXAMPLES, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.lengths = random.integers(6, 14, count)
        self._ids = [random.integers(5, VOCABULARY, length) for length in self.lengths]

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, list[int]]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        special = np.arange(VOCABULARY) < 5
        ids, labels = masked_example(
            self._ids[index], special, mask_id=4, vocabulary_size=VOCABULARY, seed=SEED, epoch=epoch, index=index
        )
        return {"input_ids": ids.tolist(), "labels": labels.tolist(), "attention_mask": [1] * len(ids)}


class Reviews(Dataset[dict[str, Any]]):
    """Made-up labelled sequences."""

    def __init__(self, count: int = EXAMPLES, seed: int = 1) -> None:
        random = np.random.default_rng(seed)
        self.lengths = random.integers(6, 14, count)
        self._ids = [random.integers(5, VOCABULARY, length).tolist() for length in self.lengths]

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        ids = self._ids[key[1] if isinstance(key, tuple) else key]
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "label": sum(ids) % 2}


def bert(model_class: Any, seed: int, dropout: float = 0.1) -> Any:
    """A model of two layers; weights are large enough for its answers to differ."""
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=16,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    torch.manual_seed(seed)
    model = model_class(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4.0)
    return model


def make_sparse(model: nn.Module, sparsity: float = 0.6) -> None:
    """Set the smallest weights of each encoder Linear to zero."""
    with torch.no_grad():
        for linear in encoder_linears(model).values():
            threshold = linear.weight.abs().flatten().kthvalue(int(sparsity * linear.weight.numel())).values
            linear.weight[linear.weight.abs() <= threshold] = 0.0


def parts(kind: str, dropout: float = 0.1, hardness: float = 0.5) -> dict[str, Any]:
    """Model, objective, pruner and data of a kind: "prune" with its teacher, "lock" with its logits, or "qat"."""
    config = DistillationConfig(hardness=hardness, tokens="masked")
    if kind == "prune":
        model, teacher = bert(BertForMaskedLM, 1, dropout), bert(BertForMaskedLM, 2)
        return {
            "model": model,
            "objective": MaskedLanguageModeling(Distiller(teacher, config, student=model)),
            "pruner": Pruner(model, SPARSITY),
            "train_dataset": Blocks(),
            "eval_dataset": Blocks(6, seed=9),
        }
    model = bert(BertForSequenceClassification, 3, dropout)
    make_sparse(model)
    lock = lock_pattern(model)
    if kind == "qat":
        prepare_qat(model)
    logits = np.random.default_rng(4).normal(size=(EXAMPLES, 2)).astype(np.float32)
    return {
        "model": model,
        "objective": TaskLoss(Distiller(None, config)),
        "pruner": lock,
        "train_dataset": WithTeacherLogits(Reviews(), {"logits": logits}),
        "eval_dataset": Reviews(6, seed=8),
    }


def make_trainer(
    kind: str, folder: Path, training: TrainingConfig = TRAINING, lr_schedule: str | None = "default", **changes: Any
) -> SparseTrainer:
    """A trainer of `kind` that keeps its checkpoints in `folder`, ready to train."""
    if lr_schedule == "default":
        lr_schedule = "rewinding" if kind == "prune" else None
    assert lr_schedule is None or lr_schedule in REWINDING_SCHEDULES
    made = {**parts(kind), **changes}
    return SparseTrainer(
        args=training_arguments(training, folder, SEED),
        lr_schedule=lr_schedule,
        batch_sampler=EpochBatchSampler(
            made["train_dataset"].lengths, training.per_device_train_batch_size, SEED, group_by_length=True
        ),
        freeze_observers_step=5 if kind == "qat" else None,
        data_collator=PaddingCollator(0),
        **made,
    )


class Wrapped:
    """An objective that goes through `call(objective, model, batch, totals)`."""

    def __init__(self, objective: Any, call: Any) -> None:
        self._objective = objective
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objective, name)

    def __call__(self, model: nn.Module, batch: Any, totals: Any = None) -> Any:
        return self._call(self._objective, model, batch, totals)


def outcome(trainer: SparseTrainer) -> dict[str, Any]:
    """What a run ends with: weights and buffers, optimizer, masks, and its log without the clock's figures."""
    weights = {name: _digest(value) for name, value in trainer.model.state_dict().items()}
    optimizer = trainer.optimizer.state_dict()
    moments = {
        f"{number}.{name}": _digest(value)
        for number, state in optimizer["state"].items()
        for name, value in state.items()
    }
    timed = ("runtime", "per_second")
    log = [
        {name: value for name, value in entry.items() if not name.endswith(timed)}
        for entry in trainer.state.log_history
    ]
    return {
        "step": trainer.state.global_step,
        "weights": weights,
        "moments": moments,
        "rates": [group["lr"] for group in optimizer["param_groups"]],
        "masks": trainer.pruner.masks.digest(),
        "hidden": sorted(trainer.pruner.state_dict().get("hidden", {})),
        "log": log,
        "random": _digest(torch.random.get_rng_state()),
    }


def run_to_end(kind: str, folder: Path) -> dict[str, Any]:
    """Train, or go on from the latest sound checkpoint, to the end."""
    trainer = make_trainer(kind, folder)
    trainer.train(resume_from_checkpoint=True)
    return outcome(trainer)


def logged(trainer: SparseTrainer, name: str) -> dict[int, float]:
    """What was logged under `name`, by step."""
    return {entry["step"]: entry[name] for entry in trainer.state.log_history if name in entry}


def folders(path: Path) -> list[str]:
    """Names of all that lies in a run's folder."""
    return sorted(entry.name for entry in path.iterdir())


def _digest(tensor: torch.Tensor) -> str:
    """Of the bytes, so that -0.0 and +0.0 are told apart."""
    return hashlib.sha256(tensor.detach().contiguous().numpy().tobytes()).hexdigest()


Points = Sequence[tuple[str, int]]
