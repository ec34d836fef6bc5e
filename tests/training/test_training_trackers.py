"""Trackers get what is logged; a wrong one is told before anything runs."""

from pathlib import Path
from typing import Any

import pytest
from training_runs import TRAINING, parts
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from pruneofa.errors import ConfigurationError
from pruneofa.training.run import Examples, TrainingRun
from pruneofa.training.session import train_model
from pruneofa.training.trackers import check_trackers

FIGURES = {"loss", "loss/task", "loss/distillation", "learning_rate", "sparsity/actual", "num_input_tokens_seen"}


def run(folder: Path, tracker: str) -> None:
    made = parts("prune")
    train_model(
        made["model"],
        made["objective"],
        TRAINING.model_copy(update={"lr_scheduler_type": "rewinding", "report_to": [tracker]}),
        Examples(made["train_dataset"], 0, made["eval_dataset"]),
        TrainingRun("student", folder / "checkpoints", 5),
        pruner=made["pruner"],
    )


def test_tracker_sees_every_figure_and_the_run_s_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, set[str]]] = []

    class Fake(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            seen.append((args.run_name, state.global_step, set(logs)))

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "wandb", Fake)
    monkeypatch.setattr("transformers.integrations.get_available_reporting_integrations", lambda: ["wandb"])
    run(tmp_path, "wandb")
    assert {name for name, _, _ in seen} == {"student"}
    lines = [(step, figures) for _, step, figures in seen if "loss" in figures]
    assert [step for step, _ in lines] == [3, 6, 9]
    assert all(figures >= FIGURES for _, figures in lines)
    assert any("eval_loss" in figures for _, _, figures in seen)


def test_tensorboard_writes_beside_the_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    run(tmp_path, "tensorboard")
    assert not any("events" in path.name for path in (tmp_path / "checkpoints").rglob("*"))
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    points = events.Scalars("train/sparsity/actual")
    assert [point.step for point in points] == [3, 6, 9]
    assert points[-1].value == pytest.approx(0.7, abs=1e-3)
    assert {"train/loss", "train/loss/distillation", "eval/loss"} <= set(events.Tags()["scalars"])


def test_folder_that_the_user_chose_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "mine"))
    run(tmp_path, "tensorboard")
    assert any((tmp_path / "mine").iterdir())
    assert not (tmp_path / "tensorboard").exists()


def test_unknown_tracker_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^report_to: 'tensorbord' is no tracker that transformers knows; allowed: .*wandb"
    ):
        run(tmp_path, "tensorbord")
    assert not (tmp_path / "checkpoints").exists()


def test_tracker_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.integrations.get_available_reporting_integrations", lambda: ["tensorboard"])
    with pytest.raises(
        ConfigurationError,
        match=r"report_to: 'wandb' needs a package that is not installed; try: pip install wandb, or",
    ):
        check_trackers(["tensorboard", "wandb"])
    check_trackers(["tensorboard"])
    check_trackers([])
