"""The best checkpoint is kept beside the last ones, and loaded at the end where that is asked for."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_runs import SPARSITY, TRAINING, Wrapped, folders, make_trainer, outcome, parts

from pruneofa.errors import ConfigurationError
from pruneofa.training.config import TrainingConfig
from pruneofa.training.run import Examples, TrainingRun
from pruneofa.training.session import train_model
from pruneofa.training.trainer.sparse_trainer import SparseTrainer

pytestmark = pytest.mark.slow

# Evaluated wherever it is saved. Pruning reaches its target at step 6 and may still select other masks at 8.
BEST = TRAINING.model_copy(update={"eval_steps": 2, "save_steps": 2, "save_total_limit": 1})
LOSSES = {2: 1.0, 4: 1.1, 6: 3.0, 8: 2.0, 10: 2.5}


class BrokenOffError(Exception):
    pass


def judged(trainer: SparseTrainer, losses: dict[int, float] = LOSSES) -> SparseTrainer:
    """Have evaluation find these losses."""
    trainer.evaluate = lambda **_: {"eval_loss": losses[trainer.state.global_step]}
    return trainer


def weights(trainer: SparseTrainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters()}


def is_checkpoint(trainer: SparseTrainer, folder: Path) -> bool:
    saved = load_file(folder / "model.safetensors")
    return all(torch.equal(value, saved[name]) for name, value in trainer.model.state_dict().items() if name in saved)


@pytest.mark.parametrize("keep", [1, 2])
def test_best_of_those_at_the_target_is_kept_beside_the_last(keep: int, tmp_path: Path) -> None:
    trainer = judged(make_trainer("prune", tmp_path, BEST.model_copy(update={"save_total_limit": keep})))
    trainer.train()
    assert folders(tmp_path) == ["checkpoint-10", "checkpoint-8"]
    assert trainer.best_checkpoint == tmp_path / "checkpoint-8"
    early = {**LOSSES, 6: 1.5}
    trainer = judged(
        make_trainer("prune", tmp_path / "early", BEST.model_copy(update={"save_total_limit": keep})), early
    )
    trainer.train()
    expected = ["checkpoint-10", "checkpoint-6"] if keep == 1 else ["checkpoint-10", "checkpoint-6", "checkpoint-8"]
    assert folders(tmp_path / "early") == expected


def test_without_pruning_every_evaluation_counts(tmp_path: Path) -> None:
    trainer = judged(make_trainer("prune", tmp_path, BEST, lr_schedule=None, pruner=None))
    trainer.train()
    assert folders(tmp_path) == ["checkpoint-10", "checkpoint-2"]


def test_evaluation_of_what_is_not_saved_makes_no_best(tmp_path: Path) -> None:
    training = BEST.model_copy(update={"eval_steps": 1, "save_steps": 4})
    losses = dict.fromkeys(range(1, 11), 5.0) | {3: 1.0, 8: 4.0}
    trainer = judged(make_trainer("prune", tmp_path, training, lr_schedule=None, pruner=None), losses)
    trainer.train()
    assert trainer.best_checkpoint == tmp_path / "checkpoint-8"
    assert folders(tmp_path) == ["checkpoint-10", "checkpoint-8"]


@pytest.mark.parametrize(("losses", "best"), [(LOSSES, 8), ({**LOSSES, 6: 1.5}, 6), ({**LOSSES, 10: 0.5}, 10)])
def test_best_is_loaded_at_the_end_with_its_masks(losses: dict[int, float], best: int, tmp_path: Path) -> None:
    training = BEST.model_copy(update={"load_best_model_at_end": True})
    trainer = judged(make_trainer("prune", tmp_path, training), losses)
    trainer.train()
    assert is_checkpoint(trainer, tmp_path / f"checkpoint-{best}")
    for name in trainer.pruner.masks:
        weight = trainer.model.get_submodule(name).weight
        assert int((weight == 0).sum()) == int(SPARSITY.target_sparsity * weight.numel())
        assert not bool(weight[~trainer.pruner.masks[name]].any())


def test_last_is_kept_where_best_is_not_asked_for(tmp_path: Path) -> None:
    trainer = judged(make_trainer("prune", tmp_path, BEST))
    trainer.train()
    assert is_checkpoint(trainer, tmp_path / "checkpoint-10")
    assert not is_checkpoint(trainer, tmp_path / "checkpoint-8")


def test_run_broken_off_ends_with_the_same_best(tmp_path: Path) -> None:
    training = BEST.model_copy(update={"load_best_model_at_end": True})
    whole = make_trainer("prune", tmp_path / "whole", training)
    whole.train()

    def break_off(objective: Any, model: Any, batch: Any, totals: Any) -> Any:
        if trainer.state.global_step == 9:
            raise BrokenOffError
        return objective(model, batch, totals)

    trainer = make_trainer("prune", tmp_path / "broken", training)
    trainer.objective = Wrapped(trainer.objective, break_off)
    with pytest.raises(BrokenOffError):
        trainer.train()
    moved = shutil.move(tmp_path / "broken", tmp_path / "moved")
    resumed = make_trainer("prune", Path(moved), training)
    resumed.train(resume_from_checkpoint=True)
    assert outcome(resumed) == outcome(whole)
    assert folders(Path(moved)) == folders(tmp_path / "whole")
    assert resumed.best_checkpoint is not None
    assert resumed.best_checkpoint.name == whole.best_checkpoint.name


def test_best_that_is_damaged_leaves_the_last(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    training = BEST.model_copy(update={"load_best_model_at_end": True})
    trainer = judged(make_trainer("prune", tmp_path, training))
    save = trainer.write_checkpoint

    def damage(*args: Any) -> None:
        save(*args)
        if trainer.state.global_step == 10:
            (tmp_path / "checkpoint-8" / "model.safetensors").write_bytes(b"")

    trainer.write_checkpoint = damage
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert is_checkpoint(trainer, tmp_path / "checkpoint-10")
    assert "checkpoint-8 is damaged (model.safetensors has 0 bytes" in caplog.text
    assert "the last step's model is kept" in caplog.text


def test_figure_that_evaluation_does_not_give(tmp_path: Path) -> None:
    training = BEST.model_copy(update={"metric_for_best_model": "accuracy"})
    trainer = make_trainer("prune", tmp_path, training, lr_schedule=None, pruner=None)
    with pytest.raises(
        ConfigurationError, match=r"metric_for_best_model is 'accuracy', which .* not give; allowed here: .*\bloss\b"
    ):
        trainer.train()


def test_higher_is_better_for_what_is_no_loss(tmp_path: Path) -> None:
    training = BEST.model_copy(update={"metric_for_best_model": "accuracy"})
    trainer = make_trainer("prune", tmp_path, training, lr_schedule=None, pruner=None)
    trainer.evaluate = lambda **_: {"eval_accuracy": {4: 0.9}.get(trainer.state.global_step, 0.5)}
    trainer.train()
    assert trainer.best_checkpoint == tmp_path / "checkpoint-4"


@pytest.mark.parametrize("changes", [{"eval_steps": None}, {"eval_steps": 4, "save_steps": 6}])
def test_best_must_be_among_what_is_saved(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"true, but eval_steps is .* and save_steps is \d+; set eval"):
        TrainingConfig(**{"load_best_model_at_end": True, **changes})
    assert TrainingConfig(load_best_model_at_end=True, eval_steps=3, save_steps=6).load_best_model_at_end


def test_session_evaluates_the_model_that_it_leaves(tmp_path: Path) -> None:
    made = parts("prune")
    log = train_model(
        made["model"],
        made["objective"],
        BEST.model_copy(
            update={"load_best_model_at_end": True, "lr_scheduler_type": "rewinding", "learning_rate": 0.3}
        ),
        Examples(made["train_dataset"], 0, made["eval_dataset"]),
        TrainingRun("test", tmp_path, 5),
        pruner=made["pruner"],
    )
    found = [(entry["step"], entry["eval_loss"]) for entry in log if "eval_loss" in entry]
    best = min((loss, step) for step, loss in found[2:5])
    assert [step for step, _ in found] == [2, 4, 6, 8, 10] + [10] * (best[1] != 10)
    assert found[-1][1] == best[0]
