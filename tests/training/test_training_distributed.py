"""Runs of two processes, with DDP and with FSDP2, are those of one with the whole batch, and go on from each other."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import run_ranks
from ranks_runs import KINDS, SAVED, on_ranks, on_shards, parts, train

from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.training.trainer.distributed import batch_size_of_run
from pruneofa.training.trainer.fsdp import stand_in

pytestmark = pytest.mark.slow

RANKS = 2
# A key's bias changes nothing: its gradient is rounding, which Adam makes into steps of some size.
WITHOUT_EFFECT = ("attention.self.key.bias",)


def assert_same_run(one: dict[str, Any], other: dict[str, Any], norm_tolerance: float = 1e-4) -> None:
    """Equal but for rounding: weights, logged losses, norms and rates; masks exactly but for weights at a threshold."""
    for name, weight in one["weights"].items():
        if not name.endswith(WITHOUT_EFFECT):
            assert torch.allclose(weight.float(), other["weights"][name].float(), rtol=1e-3, atol=2e-4), name
    different = sum(int((mask != other["masks"][name]).sum()) for name, mask in one["masks"].items())
    assert different <= 1e-3 * sum(mask.numel() for mask in one["masks"].values())
    for mine, theirs in zip(one["log"], other["log"], strict=True):
        assert ("grad_norm" in mine) == ("grad_norm" in theirs)
        assert mine.get("grad_norm", 0.0) == pytest.approx(theirs.get("grad_norm", 0.0), rel=norm_tolerance)
        compared = {name for name in mine if "eval_loss" not in name and name != "grad_norm"}
        assert {name: mine[name] for name in compared} == pytest.approx(
            {name: theirs[name] for name in compared}, rel=1e-4, abs=1e-6
        )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Runs of one process."""
    return {kind: train(kind, tmp_path_factory.mktemp("alone"), 1) for kind in KINDS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the processes work; in `one` and `whole` a single process has begun."""
    folder = tmp_path_factory.mktemp("ranks")
    train("prune", folder / "one", 1, stop_at=SAVED + 1)
    shutil.copytree(folder / "one", folder / "whole")
    return folder


@pytest.fixture(scope="module")
def together(folder: Path) -> list[dict[str, Any]]:
    """What the processes found, with DDP."""
    return run_ranks(on_ranks, RANKS, folder / "results", folder)


@pytest.fixture(scope="module")
def split(folder: Path) -> list[dict[str, Any]]:
    """What they found with FSDP2; that all parameters were DTensors is checked there."""
    return run_ranks(on_shards, RANKS, folder / "sharded results", folder)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_train_as_one_with_the_whole_batch(
    kind: str, alone: dict[str, Any], together: list[dict[str, Any]]
) -> None:
    # Rounding moves a value now and then over the edge of a quantization step, and with it a whole gradient.
    assert_same_run(alone[kind], together[0][kind], norm_tolerance=3e-3 if kind == "qat" else 1e-4)
    assert together[0][kind]["digest"] == together[1][kind]["digest"]


def test_split_over_two_processes_it_is_the_same(alone: dict[str, Any], split: list[dict[str, Any]]) -> None:
    for found in split:
        assert_same_run(alone["prune"], found["prune"])
        assert_same_run(alone["prune"], found["continued"])
    assert split[0]["prune"]["digest"] == split[1]["prune"]["digest"]


def test_two_go_on_from_a_checkpoint_of_one(alone: dict[str, Any], together: list[dict[str, Any]]) -> None:
    assert_same_run(alone["prune"], together[0]["continued"])


@pytest.mark.parametrize("written_by", ["two", "parted"])
def test_one_goes_on_from_a_checkpoint_of_two(
    written_by: str,
    alone: dict[str, Any],
    together: list[dict[str, Any]],
    split: list[dict[str, Any]],
    folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for asked_for in (1, RANKS):  # the batch of all, or the share of one of two
        run = tmp_path / str(asked_for)
        shutil.copytree(folder / written_by, run)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert_same_run(alone["prune"], train("prune", run, asked_for))
        assert "was written by 2 processes, this run has 1: all goes on but dropout" in caplog.text
        kept = "this run began with batches of 8 examples and goes on with them: up to 8 on each of 1 processes"
        assert (kept in caplog.text) == (asked_for == RANKS)


def test_the_same_number_of_processes_is_repeatable_with_dropout(together: list[dict[str, Any]]) -> None:
    for found in together:
        assert found["dropout"]["digest"] == found["resumed"]["digest"]
        assert found["dropout"]["log"] == found["resumed"]["log"]


def test_checkpoints_are_written_once_and_the_same_by_all(
    together: list[dict[str, Any]], split: list[dict[str, Any]], folder: Path
) -> None:
    names = {
        *("checkpoint.json", "config.json", "model.safetensors", "optimizer.pt", "pruner.safetensors", "ranks.json"),
        *("rng_state_0.pth", "rng_state_1.pth", "scheduler.pt", "trainer_state.json", "training_args.bin"),
    }
    for run in ("two", "parted"):
        assert {path.name for path in (folder / run / f"checkpoint-{SAVED}").iterdir()} == names
        assert [path.name for path in (folder / run).iterdir()] == [f"checkpoint-{SAVED}"]
    by_ddp, by_fsdp = (
        torch.load(folder / run / f"checkpoint-{SAVED}" / "optimizer.pt", weights_only=True)
        for run in ("two", "parted")
    )
    assert by_ddp["state"].keys() == by_fsdp["state"].keys()
    for name, state in by_ddp["state"].items():
        assert all(torch.allclose(state[key], by_fsdp["state"][name][key], atol=1e-4) for key in state), name


def test_batches_stay_those_that_a_run_began_with(tmp_path: Path) -> None:
    (tmp_path / "ranks.json").write_text(json.dumps({"ranks": [{}] * 4, "batch_size": 32, "asked_batch_size": 8}))
    assert batch_size_of_run(8, 4, None) == 32
    assert batch_size_of_run(8, 4, tmp_path) == 32
    assert batch_size_of_run(8, 1, tmp_path) == 32
    assert batch_size_of_run(16, 1, tmp_path) == 16  # who asks for another batch gets it
    (tmp_path / "ranks.json").write_text("{}")
    assert batch_size_of_run(8, 1, tmp_path) == 8


def test_checkpoint_without_the_state_of_its_processes_is_refused(tmp_path: Path) -> None:
    train("prune", tmp_path, 1, stop_at=SAVED + 1)
    checkpoint = tmp_path / f"checkpoint-{SAVED}"
    manifest = json.loads((checkpoint / "checkpoint.json").read_text())
    for damage in ("", "[]", '{"ranks": [], "batch_size": 8, "asked_batch_size": 8}', '{"ranks": [1]}'):
        (checkpoint / "ranks.json").write_text(damage)
        del manifest["files"]["ranks.json"]
        (checkpoint / "checkpoint.json").write_text(json.dumps(manifest))
        manifest["files"]["ranks.json"] = {}
        with pytest.raises(CheckpointError, match=r"ranks\.json: no readable state of the run's processes"):
            train("prune", tmp_path, 1)


def test_optimizer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    train("prune", tmp_path, 1, stop_at=SAVED + 1)
    checkpoint = tmp_path / f"checkpoint-{SAVED}"
    manifest = json.loads((checkpoint / "checkpoint.json").read_text())
    del manifest["files"]["optimizer.pt"]
    (checkpoint / "checkpoint.json").write_text(json.dumps(manifest))
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    state["state"].popitem()
    torch.save(state, checkpoint / "optimizer.pt")
    for damage in (None, b"", b"no archive"):
        if damage is not None:
            (checkpoint / "optimizer.pt").write_bytes(damage)
        with pytest.raises(CheckpointError, match="the optimizer's state does not fit or can't be read"):
            train("prune", tmp_path, 1)


def test_rounding_to_int8_is_trained_whole() -> None:
    made = parts("qat")
    with pytest.raises(ConfigurationError, match="fsdp is true, but a model is trained with rounding to int8 only as"):
        stand_in(made["model"], made["pruner"]).__enter__()
