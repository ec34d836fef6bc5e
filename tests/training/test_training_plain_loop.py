"""A plain PyTorch loop trains to the same weights: the trainer adds nothing of its own."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from training_runs import SEED, TRAINING, Blocks, Reviews, bert, make_sparse, make_trainer
from transformers import BertForMaskedLM, BertForSequenceClassification, get_linear_schedule_with_warmup

from pruneofa.data.batches.batching import EpochBatchSampler, PaddingCollator
from pruneofa.distillation.config import DistillationConfig
from pruneofa.distillation.distiller import Distiller
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.sparsity.lock import lock_pattern
from pruneofa.sparsity.pruner import Pruner
from pruneofa.training.objectives import MaskedLanguageModeling, TaskLoss

PAGE = Path(__file__).parents[2] / "docs" / "method.md"


def assert_same_bytes(left: torch.nn.Module, right: torch.nn.Module) -> None:
    other = right.state_dict()
    for name, value in left.state_dict().items():
        assert value.numpy().tobytes() == other[name].numpy().tobytes(), name


def test_loop_of_the_documentation_equals_the_trainer(tmp_path: Path) -> None:
    model, teacher = bert(BertForMaskedLM, 1, dropout=0.0), bert(BertForMaskedLM, 2)
    twin, before = copy.deepcopy(model), copy.deepcopy(model)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if "EpochBatchSampler(" in block]
    names: dict[str, Any] = {"model": model, "teacher": teacher, "dataset": Blocks()}
    exec(compile(block, str(PAGE), "exec"), names)

    training = TRAINING.model_copy(
        update={"gradient_accumulation_steps": 1, "learning_rate": 1e-3, "weight_decay": 0.0, "eval_steps": None}
    )
    pruner = Pruner(twin, SparsityConfig(target_sparsity=0.85, end_step=6, update_every=2, freeze_step=8))
    objective = MaskedLanguageModeling(Distiller(teacher, DistillationConfig(temperature=2.0, tokens="masked")))
    make_trainer("prune", tmp_path, training, model=twin, objective=objective, pruner=pruner).train()
    assert_same_bytes(model, twin)
    assert names["pruner"].masks.digest() == pruner.masks.digest()
    assert pruner.sparsity == pytest.approx(0.85, abs=1e-3)
    assert not torch.equal(next(before.parameters()), next(model.parameters()))


def test_loop_with_lock_decay_and_accumulation_equals_the_trainer(tmp_path: Path) -> None:
    """With the trainer's other habits: decay of some weights only, a linear schedule, two batches a step."""
    model = bert(BertForSequenceClassification, 3, dropout=0.0)
    make_sparse(model)
    twin = copy.deepcopy(model)
    teacher = bert(BertForSequenceClassification, 4)
    objective = TaskLoss(Distiller(teacher, DistillationConfig(temperature=2.0, hardness=1.0)))
    data = Reviews(32)

    decayed = [p for name, p in model.named_parameters() if "bias" not in name and "LayerNorm" not in name]
    rest = [p for name, p in model.named_parameters() if "bias" in name or "LayerNorm" in name]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.98), fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, 1, 8)
    lock_pattern(model, optimizer)
    sampler = EpochBatchSampler(data.lengths, 4, SEED)
    model.train()
    for epoch in range(2):
        sampler.set_epoch(epoch)
        loader = DataLoader(data, batch_sampler=sampler, collate_fn=PaddingCollator(0))
        for number, batch in enumerate(loader):
            (objective(model, batch)[0] / 2).backward()
            if number % 2:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()

    changes = {"max_steps": 8, "max_grad_norm": 0.5, "weight_decay": 0.1, "adam_beta2": 0.98, "eval_steps": None}
    trainer = make_trainer(
        "lock",
        tmp_path,
        TRAINING.model_copy(update=changes),
        model=twin,
        objective=objective,
        pruner=lock_pattern(twin),
        train_dataset=data,
    )
    trainer.train()
    assert_same_bytes(model, twin)
