import errno
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import nn
from training_runs import BATCH, SPARSITY, STEPS, TRAINING, Wrapped, folders, make_trainer, outcome, parts, run_to_end
from transformers import TrainerCallback

from pruneofa.data.batches.batching import EpochBatchSampler
from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.sparsity.pruner import Pruner
from pruneofa.training.trainer.divergence import TrainingDivergedError
from pruneofa.training.trainer.sparse_trainer import SparseTrainer

QUIET = TRAINING.model_copy(update={"eval_steps": None})


def spoil(trainer: SparseTrainer, at_call: int, change: Any) -> None:
    """Replace the loss of the `at_call`-th batch of training."""
    calls: list[int] = []

    def spoiled(objective: Any, model: nn.Module, batch: Any, totals: Any) -> Any:
        loss, output, parts = objective(model, batch, totals)
        calls.append(1)
        return (change(model, loss) if len(calls) == at_call else loss), output, parts

    trainer.objective = Wrapped(trainer.objective, spoiled)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc] PytorchStreamWriter failed writing file data/3"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=["OSError", "RuntimeError", "SafetensorError"],
)
def test_full_disk_leaves_the_last_sound_checkpoint_and_one_clear_error(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer("prune", tmp_path)
    whole = trainer._save_optimizer_and_scheduler

    def fill_disk(output_dir: str) -> None:
        if trainer.state.global_step == 6:
            (Path(output_dir) / "optimizer.pt").write_bytes(b"half")
            raise error
        whole(output_dir)

    monkeypatch.setattr(trainer, "_save_optimizer_and_scheduler", fill_disk)
    with pytest.raises(CheckpointError) as caught:
        trainer.train()
    assert str(caught.value) == (
        f"the checkpoint of step 6 can't be written to {tmp_path}: {error}. The last sound one is "
        f"{tmp_path / 'checkpoint-4'}; make room there and start the same command again"
    )
    assert folders(tmp_path) == ["checkpoint-2", "checkpoint-4"]
    if isinstance(error, OSError):
        assert run_to_end("prune", tmp_path) == run_to_end("prune", tmp_path / "again")


def test_damaged_checkpoint_is_passed_over_or_refused_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = run_to_end("prune", tmp_path)
    (tmp_path / "checkpoint-10" / "optimizer.pt").write_bytes(b"")
    with pytest.raises(
        CheckpointError, match=r"checkpoint-10: optimizer.pt has 0 bytes, \d+ were written; resume from"
    ):
        make_trainer("prune", tmp_path).train(resume_from_checkpoint=tmp_path / "checkpoint-10")
    with caplog.at_level(logging.WARNING):
        assert run_to_end("prune", tmp_path) == expected
    assert "checkpoint-10 is damaged (optimizer.pt has 0 bytes" in caplog.text
    assert folders(tmp_path) == ["checkpoint-10", "checkpoint-8"]


def test_checkpoint_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"checkpoint-77: checkpoint.json is missing or unreadable"):
        make_trainer("prune", tmp_path).train(resume_from_checkpoint=tmp_path / "checkpoint-77")


def test_new_course_from_an_earlier_checkpoint_replaces_the_old_one(tmp_path: Path) -> None:
    training = QUIET.model_copy(update={"save_total_limit": 4})
    make_trainer("lock", tmp_path, training).train()
    trainer = make_trainer("lock", tmp_path, training.model_copy(update={"save_total_limit": 1}))
    spoil(trainer, 5, lambda model, loss: loss * math.nan)
    with pytest.raises(TrainingDivergedError, match="checkpoint-6"):
        trainer.train(resume_from_checkpoint=tmp_path / "checkpoint-4")
    assert folders(tmp_path) == ["checkpoint-6"]


def test_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    make_trainer("lock", tmp_path, QUIET).train()
    with pytest.raises(CheckpointError, match=r"checkpoint-10 is of another model: it has no cls\.predictions"):
        make_trainer("prune", tmp_path, QUIET).train(resume_from_checkpoint=True)
    with pytest.raises(CheckpointError, match=r"is of another model: it has no .*quantizer"):
        make_trainer("qat", tmp_path, QUIET).train(resume_from_checkpoint=True)


def test_checkpoint_of_dense_training_has_no_pruner_to_continue(tmp_path: Path) -> None:
    make_trainer("prune", tmp_path, QUIET, lr_schedule=None, pruner=None).train()
    with pytest.raises(CheckpointError, match=r"pruner\.safetensors: no readable pruner state"):
        make_trainer("prune", tmp_path, QUIET).train(resume_from_checkpoint=True)


def test_tied_weights_are_one_after_resuming(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run_to_end("prune", tmp_path)
    caplog.clear()
    trainer = make_trainer("prune", tmp_path)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.model.cls.predictions.decoder.weight is trainer.model.bert.embeddings.word_embeddings.weight
    assert "missing keys" not in caplog.text


@pytest.mark.slow
def test_resumed_run_sees_the_batches_that_were_left(tmp_path: Path) -> None:
    def record(trainer: SparseTrainer) -> list[list[list[int]]]:
        seen: list[list[list[int]]] = []

        def recording(objective: Any, model: nn.Module, batch: Any, totals: Any) -> Any:
            seen.append(batch["input_ids"].tolist())
            return objective(model, batch, totals)

        trainer.objective = Wrapped(trainer.objective, recording)
        return seen

    training = QUIET.model_copy(update={"save_steps": 1, "save_total_limit": STEPS})
    whole = make_trainer("prune", tmp_path, training)
    expected = record(whole)
    whole.train()
    assert len(expected) == 7 + 7 + 4
    assert expected[:7] != expected[7:14]  # another order and other masks
    for step, batches_before in {3: 6, 4: 7, 8: 14}.items():
        resumed = make_trainer("prune", tmp_path, training)
        seen = record(resumed)
        resumed.train(resume_from_checkpoint=tmp_path / f"checkpoint-{step}")
        assert seen == expected[batches_before:]


def test_hooks_are_gone_when_training_is_broken_off(tmp_path: Path) -> None:
    trainer = make_trainer("prune", tmp_path, QUIET)
    spoil(trainer, 3, lambda model, loss: loss * math.nan)
    with pytest.raises(TrainingDivergedError):
        trainer.train()
    trainer.model.zero_grad()
    output = trainer.model(input_ids=torch.arange(5, 13)[None])
    output.logits.square().sum().backward()
    for name, mask in ((name, trainer.pruner.masks[name]) for name in trainer.pruner.masks):
        gradient = trainer.model.get_submodule(name).weight.grad
        assert bool((gradient[~mask] != 0).any()) or bool(mask.all())


def test_observers_rest_from_the_step_that_was_set(tmp_path: Path) -> None:
    class Ranges(TrainerCallback):
        def __init__(self) -> None:
            self.seen: list[float] = []

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
            self.seen.append(float(model.bert.encoder.layer[0].output.dense.input_quantizer.observer.maximum))

    ranges = Ranges()
    trainer = make_trainer("qat", tmp_path, QUIET, callbacks=[ranges])
    trainer.train()
    assert len(set(ranges.seen[:5])) == 5
    assert set(ranges.seen[4:]) == {ranges.seen[4]}


def test_observers_that_would_never_rest_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        make_trainer("qat", tmp_path, QUIET.model_copy(update={"max_steps": 3})).train()
    assert "freeze_observers_step is 5, but the run has only 3 steps" in caplog.text


@pytest.mark.parametrize("schedule", ["rewinding", None])
def test_run_too_short_for_its_pruning_is_refused(schedule: str | None, tmp_path: Path) -> None:
    trainer = make_trainer("prune", tmp_path, QUIET.model_copy(update={"max_steps": 5}), lr_schedule=schedule)
    with pytest.raises(ConfigurationError, match="end_step is 6, but the run has only 5 steps; lower "):
        trainer.train()
    assert not tmp_path.exists() or folders(tmp_path) == []


def test_rewinding_without_pruning_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'rewinding', which follows pruning, but nothing is pruned"):
        make_trainer("lock", tmp_path, lr_schedule="rewinding")


def test_unknown_rewinding_is_refused(tmp_path: Path) -> None:
    made = parts("prune")
    with pytest.raises(ConfigurationError, match="lr_schedule is 'linear'; allowed: rewinding, rewinding_cycles"):
        SparseTrainer(lr_schedule="linear", **made)


def test_teacher_computes_in_the_precision_of_the_run(tmp_path: Path) -> None:
    for precision, expected in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        trainer = make_trainer("prune", tmp_path / precision, QUIET.model_copy(update={"precision": precision}))
        batch = trainer.train_collator([trainer.train_dataset[0]])
        trainer.objective(trainer.model, batch)  # tries once how the heads end, in float32
        for model in (trainer.model, trainer.objective.distiller.teacher):
            model.seen = set()
            model.bert.encoder.layer[0].intermediate.dense.register_forward_hook(
                lambda module, args, output, seen=model.seen: seen.add(output.dtype)
            )
        trainer.train()
        assert trainer.model.seen == trainer.objective.distiller.teacher.seen == {expected}
        assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}


def test_zeros_stay_zeros_in_bfloat16(tmp_path: Path) -> None:
    for kind in ("prune", "lock", "qat"):
        trainer = make_trainer(kind, tmp_path / kind, QUIET.model_copy(update={"precision": "bfloat16"}))
        trainer.train()
        for name in trainer.pruner.masks:
            weight = trainer.model.get_submodule(name).weight
            pruned = weight[~trainer.pruner.masks[name]]
            assert pruned.numel() == (int(0.7 * weight.numel()) if kind == "prune" else pruned.numel())
            assert not bool(pruned.any()) and not bool(torch.signbit(pruned).any())


def test_library_order_serves_where_no_sampler_is_given(tmp_path: Path) -> None:
    trainer = make_trainer("lock", tmp_path, QUIET)
    trainer.batch_sampler = None
    trainer.train()
    assert trainer.state.global_step == STEPS


def test_accumulated_batches_count_as_one(tmp_path: Path) -> None:
    results = []
    for batch, accumulation in ((BATCH, 2), (2 * BATCH, 1)):
        training = QUIET.model_copy(
            update={"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation, "max_steps": 3}
        )
        trainer = make_trainer("lock", tmp_path / str(batch), training, **parts("lock", dropout=0.0))
        # In the order of the data, two batches of four are one of eight.
        trainer.batch_sampler = EpochBatchSampler(trainer.train_dataset.lengths, batch, 0, shuffle=False)
        trainer.train()
        results.append(torch.cat([parameter.flatten() for parameter in trainer.model.parameters()]))
    assert torch.allclose(*results, atol=2e-5)


def test_one_budget_over_all_tensors_is_reached(tmp_path: Path) -> None:
    made = parts("prune")
    made["pruner"] = Pruner(made["model"], SPARSITY.model_copy(update={"scope": "global"}))
    trainer = make_trainer("prune", tmp_path, QUIET, **made)
    trainer.train()
    assert outcome(trainer)["step"] == STEPS
    assert trainer.pruner.sparsity == pytest.approx(0.7, abs=1e-4)
