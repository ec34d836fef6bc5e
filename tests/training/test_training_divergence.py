"""A loss or gradient that is not finite: the run stops before it spoils anything, and says where it happened."""

import logging
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from training_runs import SEED, TRAINING, Blocks, Wrapped, folders, make_trainer

from pruneofa.data.batches.batching import EpochBatchSampler, PaddingCollator
from pruneofa.training.trainer.divergence import TrainingDivergedError, diverged, keys_of_step
from pruneofa.training.trainer.sparse_trainer import SparseTrainer

pytestmark = pytest.mark.slow

QUIET = TRAINING.model_copy(update={"eval_steps": None})


class Documented(Blocks):
    """Blocks that hold two documents each, one of them shared with the next block."""

    def documents(self, index: int) -> list[int]:
        return [10 * index, 10 * index + 10]


def spoil(trainer: SparseTrainer, at_call: int, change: Any) -> list[torch.Tensor]:
    """Replace the loss of the `at_call`-th batch of training; gives the token ids of every batch."""
    seen: list[torch.Tensor] = []

    def spoiled(objective: Any, model: nn.Module, batch: Any, totals: Any) -> Any:
        loss, output, parts = objective(model, batch, totals)
        seen.append(batch["input_ids"])
        return (change(model, loss) if len(seen) == at_call else loss), output, parts

    trainer.objective = Wrapped(trainer.objective, spoiled)
    return seen


def ids_of(dataset: Any, epoch: int, examples: list[int]) -> torch.Tensor:
    """Token ids of a batch as the collator makes it."""
    return PaddingCollator(0)([dataset[epoch, index] for index in examples])["input_ids"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_loss_stops_the_run_and_tells_step_examples_and_the_last_checkpoint(value: float, tmp_path: Path) -> None:
    trainer = make_trainer("prune", tmp_path, QUIET)
    seen = spoil(trainer, 9, lambda model, loss: loss * 0 + value)  # four steps are the seven batches of an epoch
    with pytest.raises(TrainingDivergedError) as caught:
        trainer.train()
    error = caught.value
    assert (error.step, error.documents, error.checkpoint) == (5, None, tmp_path / "checkpoint-4")
    assert torch.equal(ids_of(trainer.train_dataset, 1, error.examples), seen[8])
    listed = ", ".join(map(str, error.examples))
    assert str(error) == (
        f"step 5: the loss is {value} on examples {listed}; the last sound checkpoint is {tmp_path / 'checkpoint-4'}. "
        "Look at them, lower learning_rate or raise warmup_ratio, and start anew"
    )
    assert isinstance(error, ArithmeticError)
    assert folders(tmp_path) == ["checkpoint-2", "checkpoint-4"]


@pytest.mark.parametrize("workers", [0, 1])
def test_resumed_run_tells_the_documents_of_its_batch(workers: int, tmp_path: Path) -> None:
    training = QUIET.model_copy(update={"dataloader_num_workers": workers})
    trainer = make_trainer("prune", tmp_path, training, train_dataset=Documented())
    spoil(trainer, 14, lambda model, loss: loss * math.nan)
    with pytest.raises(TrainingDivergedError) as first:
        trainer.train()
    resumed = make_trainer("prune", tmp_path, training, train_dataset=Documented())
    # The latest checkpoint is that of step 6, after eleven batches; the thirteenth is the second of step 7.
    seen = spoil(resumed, 2, lambda model, loss: loss * math.nan)
    with pytest.raises(TrainingDivergedError) as again:
        resumed.train(resume_from_checkpoint=True)
    assert (first.value.step, again.value.step) == (8, 7)
    assert torch.equal(ids_of(resumed.train_dataset, 1, again.value.examples), seen[1])
    expected = sorted({number for index in again.value.examples for number in (10 * index, 10 * index + 10)})
    assert again.value.documents == expected
    assert f"the loss is nan on documents {', '.join(map(str, expected))}; " in str(again.value)


def test_gradient_tells_all_batches_of_the_step_and_leaves_the_weights(tmp_path: Path) -> None:
    for max_grad_norm in (1.0, 0.0):
        training = QUIET.model_copy(update={"max_grad_norm": max_grad_norm})
        trainer = make_trainer("prune", tmp_path / str(max_grad_norm), training)
        # The slope of the square root at zero is infinite, the loss is as before.
        seen = spoil(trainer, 3, lambda model, loss: loss + (next(model.parameters()) * 0).abs().sqrt().sum())
        with pytest.raises(TrainingDivergedError, match="step 2: the gradient's norm is nan on examples") as caught:
            trainer.train()
        assert all(bool(parameter.isfinite().all()) for parameter in trainer.model.parameters())
        examples = caught.value.examples
        assert len(examples) == 8
        assert torch.equal(ids_of(trainer.train_dataset, 0, examples[:4]), seen[2])
        assert torch.equal(ids_of(trainer.train_dataset, 0, examples[4:]), seen[3])


def test_before_the_first_checkpoint_and_in_the_library_s_order(tmp_path: Path) -> None:
    trainer = make_trainer("prune", tmp_path, QUIET)
    trainer.batch_sampler = None
    spoil(trainer, 1, lambda model, loss: loss * math.nan)
    with pytest.raises(TrainingDivergedError) as caught:
        trainer.train()
    assert str(caught.value) == (
        "step 1: the loss is nan; no checkpoint was written before. Lower learning_rate or raise warmup_ratio, and "
        "start anew"
    )


def test_keys_are_found_for_every_step_of_an_epoch() -> None:
    sampler = EpochBatchSampler([5] * 10, 2, SEED)
    loader = torch.utils.data.DataLoader(Blocks(10), batch_sampler=sampler)
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        found = [keys_of_step(loader, 3 * epoch + step, 2) for step in range(3)]
        assert found == [batches[:2], batches[2:4], batches[4:]]


def test_long_lists_are_cut_in_the_message_and_whole_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    dataset = SimpleNamespace(documents=lambda index: [index, index + 1])
    with caplog.at_level(logging.ERROR):
        error = diverged("loss", math.nan, step=6, keys=[(0, i) for i in range(40)], dataset=dataset, checkpoint=None)
    assert error.documents == list(range(41))
    assert "on documents 0, 1, 2," in str(error)
    assert ", 19 and 21 more; no checkpoint" in str(error)
    assert caplog.messages == [f"step 7, not finite: all documents of it: {', '.join(map(str, range(41)))}"]
    caplog.clear()
    silent = SimpleNamespace(documents=lambda index: [])
    assert diverged("loss", math.inf, step=0, keys=[(0, 7)], dataset=silent, checkpoint=None).documents is None
    one = diverged("loss", math.inf, step=0, keys=[(0, 7)], dataset=object(), checkpoint=None)
    assert "on example 7; " in str(one)
    assert not caplog.messages
