"""A step of several batches is a step of one big one, though they hold unequal numbers of masked tokens."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training_runs import TRAINING, Blocks, bert, make_trainer, parts
from transformers import BertForMaskedLM, BertForPreTraining, TrainerCallback

from pruneofa.data.batches.batching import EpochBatchSampler, PaddingCollator
from pruneofa.distillation.config import DistillationConfig
from pruneofa.distillation.distiller import Distiller
from pruneofa.training.objectives import MaskedLanguageModeling

CUTS = (1, 4, 3)


def pairs() -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for index in range(sum(CUTS)):
        one = Blocks()[(0, index)]
        length = len(one["input_ids"])
        segments = {"token_type_ids": [0] * 3 + [1] * (length - 3), "next_sentence_label": index % 2}
        made.append(one | segments)
    return made


def gradients(model: Any) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("with_pairs", [False, True])
@pytest.mark.parametrize("config", [None, {"tokens": "masked"}, {"tokens": "all", "hidden_loss": "mse"}])
def test_shares_of_batches_add_up_to_the_whole(config: dict[str, Any] | None, with_pairs: bool) -> None:
    model_class = BertForPreTraining if with_pairs else BertForMaskedLM
    model, teacher = (bert(model_class, seed, dropout=0.0).train() for seed in (1, 2))
    distiller = None if config is None else Distiller(teacher, DistillationConfig(**config), student=model)
    objective, collator = MaskedLanguageModeling(distiller), PaddingCollator(0)
    made = pairs() if with_pairs else [Blocks()[(0, index)] for index in range(sum(CUTS))]
    whole, _, whole_parts = objective(model, collator(made))
    whole.backward()
    wanted = gradients(model)

    batches = [collator(made[sum(CUTS[:cut]) : sum(CUTS[: cut + 1])]) for cut in range(len(CUTS))]
    counts = [objective.counts(batch) for batch in batches]
    assert len({count["masked"] for count in counts}) > 1
    totals = {name: sum(count[name] for count in counts) for name in counts[0]}
    loss, sums = 0.0, dict.fromkeys(whole_parts, 0.0)
    for batch in batches:
        share, _, share_parts = objective(model, batch, totals)
        share.backward()
        loss += float(share.detach())
        for name, part in share_parts.items():
            sums[name] += float(part)
    assert loss == pytest.approx(float(whole.detach()), rel=1e-5)
    assert sums == pytest.approx({name: float(part) for name, part in whole_parts.items()}, rel=1e-4)
    found = gradients(model)
    assert found.keys() == wanted.keys()
    scale = max(float(value.abs().max()) for value in wanted.values())
    for name, gradient in wanted.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-5 * scale), name


class Gradients(TrainerCallback):
    """Remembers the gradients of the first step, as the optimizer is to see them."""

    def __init__(self) -> None:
        self.seen: dict[str, Tensor] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.seen = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_trainer_s_step_of_four_batches_is_that_of_one(tmp_path: Path) -> None:
    results = []
    for batch, accumulation in ((2, 4), (8, 1)):
        changes = {
            "per_device_train_batch_size": batch,
            "gradient_accumulation_steps": accumulation,
            "max_steps": 8,
            "logging_steps": 1,
            "max_grad_norm": 0.0,
            "eval_steps": None,
        }
        trainer = make_trainer(
            "prune", tmp_path / str(batch), TRAINING.model_copy(update=changes), **parts("prune", dropout=0.0)
        )
        # In the order of the data, four batches of two are one of eight.
        trainer.batch_sampler = EpochBatchSampler(trainer.train_dataset.lengths, batch, 0, shuffle=False)
        callback = Gradients()
        trainer.add_callback(callback)
        trainer.add_callback(StopAfterFirst())
        trainer.train()
        results.append((callback.seen, trainer.state.log_history[0]))
    (found, log), (wanted, other_log) = results
    assert found.keys() == wanted.keys()
    scale = max(float(value.abs().max()) for value in wanted.values())
    for name, gradient in wanted.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-5 * scale), name
    for name in ("loss", "loss/task", "loss/distillation"):
        assert log[name] == pytest.approx(other_log[name], rel=1e-4)


class StopAfterFirst(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = True
        control.should_log = True
