"""Runs that were broken off, as a user goes on with them: the same command again."""

import json
from pathlib import Path

import pytest

from pruneofa.training.trainer.sparse_trainer import SparseTrainer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(small_world, tmp_path_factory):
    """Built once, by the stage itself."""
    from pruneofa.recipe.files import load_recipe
    from pruneofa.workflow.execution import execute
    from pruneofa.workflow.stage_list import STAGES

    folder = tmp_path_factory.mktemp("corpus") / "corpus"
    execute(STAGES["corpus"], load_recipe(str(small_world.recipe)), {"model": str(small_world.model)}, folder)
    return folder


@pytest.fixture
def prune(cli, small_world, corpus, tmp_path):
    """`pruneofa prune` of the small recipe into a folder; a checkpoint after every second of eight steps."""

    def call(folder, *flags):
        return cli("prune", small_world.recipe, "--corpus_dir", corpus, "--output_dir", tmp_path / folder, *flags)

    return call


@pytest.fixture
def broken_off(prune, tmp_path, monkeypatch):
    """Folder of a run that was interrupted in its seventh step, and its checkpoints, latest first."""
    step = SparseTrainer.training_step

    def interrupted(trainer, *args, **kwargs):
        if trainer.state.global_step == 6:
            raise KeyboardInterrupt
        return step(trainer, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(SparseTrainer, "training_step", interrupted)
        outcome = prune("run")
    assert outcome.code == 130
    assert "interrupted; run the same command again to go on where it stopped" in outcome.err
    found = tmp_path / "run" / ".stage" / "checkpoints"
    return [found / "checkpoint-6", found / "checkpoint-4"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def assert_same_end(one: Path, other: Path) -> None:
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    logs = [json.loads((folder / ".stage" / "training_log.json").read_text()) for folder in (one, other)]
    rates, losses = ([[entry.get(name) for entry in log] for log in logs] for name in ("learning_rate", "loss"))
    assert rates[0] == rates[1] and losses[0] == losses[1]
    assert not (one / ".stage" / "checkpoints").exists()


@pytest.mark.parametrize(("damage", "told"), [(cut, "optimizer.pt has"), (alter, "optimizer.pt was altered")])
def test_damaged_newest_checkpoint_is_passed_over_with_a_warning(prune, broken_off, tmp_path, damage, told):
    damage(broken_off[0] / "optimizer.pt")
    outcome = prune("run")
    assert outcome.code == 0, outcome.err
    assert f"checkpoint {broken_off[0]} is damaged ({told}" in outcome.err
    assert "prune: continuing at step 4 of 8" in outcome.err
    assert prune("whole").code == 0
    assert_same_end(tmp_path / "run", tmp_path / "whole")


def test_every_checkpoint_damaged_begins_anew(prune, broken_off, tmp_path):
    for checkpoint in broken_off:
        cut(checkpoint / "pruner.safetensors")
    outcome = prune("run")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("is damaged (pruner.safetensors has") == 2
    assert "continuing at step" not in outcome.err
    assert prune("whole").code == 0
    assert_same_end(tmp_path / "run", tmp_path / "whole")


def test_damaged_checkpoint_that_was_named_is_refused(prune, broken_off):
    cut(broken_off[0] / "model.safetensors")
    outcome = prune("run", "--resume_from_checkpoint", broken_off[0])
    assert outcome.code == 1
    assert f"error: checkpoint {broken_off[0]}: model.safetensors has " in outcome.err
    assert "were written; resume from an earlier one" in outcome.err
    assert prune("run", "--resume_from_checkpoint", broken_off[1]).code == 0


def test_full_disk_is_told_once_and_the_run_goes_on_when_there_is_room(prune, tmp_path, monkeypatch):
    import errno

    write = SparseTrainer._save_own_state

    def full(trainer, folder):
        if trainer.state.global_step == 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(trainer, folder)

    with monkeypatch.context() as patch:
        patch.setattr(SparseTrainer, "_save_own_state", full)
        outcome = prune("run")
    assert outcome.code == 1
    assert outcome.err.count("error: ") == 1
    assert "the checkpoint of step 6 can't be written to" in outcome.err
    assert "checkpoint-4; make room there and start the same command again" in outcome.err
    again = prune("run")
    assert again.code == 0, again.err
    assert "prune: continuing at step 4 of 8" in again.err
    assert prune("whole").code == 0
    assert_same_end(tmp_path / "run", tmp_path / "whole")


def test_unknown_tracker_is_wrong_use_before_anything_runs(cli, prune, small_world, tmp_path):
    outcome = cli(
        "run", small_world.recipe, "--output_dir", tmp_path / "run", "--set", "teach.training.report_to=[tensorbord]"
    )
    assert outcome.code == 2
    assert "teach.training.report_to: 'tensorbord' is no tracker that transformers knows; allowed: " in outcome.err
    assert prune("run", "--set", "prune.training.report_to=[tensorbord]").code == 2
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_not_finite_name_the_documents(prune, monkeypatch):
    compute = SparseTrainer.compute_loss

    def spoiled(trainer, *args, **kwargs):
        if trainer.state.global_step == 5:
            for parameter in trainer.model.parameters():
                parameter.data.fill_(float("inf"))
        return compute(trainer, *args, **kwargs)

    monkeypatch.setattr(SparseTrainer, "compute_loss", spoiled)
    outcome = prune("run")
    assert outcome.code == 1
    assert "error: step 6: the loss is nan on documents " in outcome.err
    assert "checkpoint-4. Look at them, lower learning_rate" in outcome.err
