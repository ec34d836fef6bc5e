"""A run killed at any moment and resumed ends the same, bit for bit, as one that was not."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_runs import CASES
from training_runs import STEPS, TRAINING, Wrapped, folders, make_trainer, outcome, parts, run_to_end

import pruneofa

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return {kind: run_to_end(kind, tmp_path_factory.mktemp(kind)) for kind in ("prune", "lock", "qat")}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of runs that were killed, one for each of CASES."""
    folder = tmp_path_factory.mktemp("killed")
    source = Path(pruneofa.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    script = Path(__file__).with_name("killed_runs.py")
    done = subprocess.run([sys.executable, script, folder], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    signals = json.loads((folder / "signals.json").read_text())
    assert all(number == signal.SIGKILL for numbers in signals.values() for number in numbers), (signals, done.stderr)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_run_ends_bit_identical(
    case: str, killed: Path, uninterrupted: dict[str, dict[str, Any]]
) -> None:
    kind, _ = CASES[case]
    resumed = run_to_end(kind, killed / case)
    expected = uninterrupted[kind]
    assert resumed["log"] == expected["log"]
    assert resumed == expected
    assert folders(killed / case) == ["checkpoint-10", "checkpoint-8"]


def test_runs_have_something_to_lose(uninterrupted: dict[str, dict[str, Any]]) -> None:
    log = uninterrupted["prune"]["log"]
    lines = [entry for entry in log if "loss" in entry]
    assert [entry["step"] for entry in lines] == [3, 6, 9]
    assert all({"loss/task", "loss/distillation", "learning_rate", "grad_norm"} <= entry.keys() for entry in lines)
    assert lines[-1]["sparsity/target"] == 0.7
    assert [entry["step"] for entry in log if "eval_loss" in entry] == [5, 10]
    assert uninterrupted["prune"]["step"] == STEPS


def test_logged_loss_is_the_weighted_sum_of_its_parts(uninterrupted: dict[str, dict[str, Any]]) -> None:
    for kind in ("prune", "lock", "qat"):
        for entry in uninterrupted[kind]["log"]:
            if "loss" in entry:
                assert entry["loss"] == pytest.approx(
                    0.5 * entry["loss/task"] + 0.5 * entry["loss/distillation"], rel=1e-5
                )


def test_mean_training_loss_covers_all_steps(uninterrupted: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    trainer = make_trainer("lock", tmp_path)
    trainer.train()
    whole = trainer.train(resume_from_checkpoint=tmp_path / "checkpoint-8")
    expected = next(entry["train_loss"] for entry in uninterrupted["lock"]["log"] if "train_loss" in entry)
    assert whole.training_loss == expected == whole.metrics["train_loss"]


def test_trainer_can_be_resumed_within_its_process(uninterrupted: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    class BrokenOffError(Exception):
        pass

    trainer = make_trainer("prune", tmp_path)
    objective, calls = trainer.objective, []

    def interrupting(objective: Any, model: Any, batch: Any, totals: Any) -> Any:
        calls.append(model.training)
        if sum(calls) == 12:
            raise BrokenOffError
        return objective(model, batch, totals)

    trainer.objective = Wrapped(objective, interrupting)
    with pytest.raises(BrokenOffError):
        trainer.train()
    trainer.objective = objective
    trainer.train(resume_from_checkpoint=True)
    assert outcome(trainer) == uninterrupted["prune"]


def test_workers_that_prepare_batches_change_nothing(uninterrupted: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    trainer = make_trainer("lock", tmp_path, TRAINING.model_copy(update={"dataloader_num_workers": 1}))
    trainer.train()
    assert outcome(trainer) == uninterrupted["lock"]


def test_evaluation_changes_nothing(uninterrupted: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    for kind in ("prune", "qat"):
        trainer = make_trainer(kind, tmp_path / kind, TRAINING.model_copy(update={"eval_steps": None}))
        trainer.train()
        silent, expected = outcome(trainer), dict(uninterrupted[kind])
        expected["log"] = [entry for entry in expected["log"] if "eval_loss" not in entry]
        assert silent == expected


def test_teacher_is_in_no_checkpoint(tmp_path: Path) -> None:
    trainer = make_trainer("prune", tmp_path)
    trainer.train()
    bytes_of_model = sum(parameter.numel() * 4 for parameter in trainer.model.parameters())
    checkpoint = tmp_path / "checkpoint-10"
    assert (checkpoint / "model.safetensors").stat().st_size < 1.1 * bytes_of_model + 20_000
    teacher = trainer.objective.distiller.teacher
    telltale = teacher.bert.encoder.layer[0].intermediate.dense.weight.detach().numpy().tobytes()[:64]
    for path in checkpoint.iterdir():
        assert telltale not in path.read_bytes()


def test_saved_checkpoint_loads_with_plain_from_pretrained(tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM

    trainer = make_trainer("prune", tmp_path)
    trainer.train()
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path / "checkpoint-10").eval()
    ids = torch.arange(5, 13)[None]
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=ids).logits, trainer.model.eval()(input_ids=ids).logits)
    weight = loaded.bert.encoder.layer[0].output.dense.weight
    zeros = weight == 0
    assert int(zeros.sum()) == int(0.7 * weight.numel())
    assert not bool(torch.signbit(weight[zeros]).any())


def test_model_loaded_under_older_names_is_resumed(tmp_path: Path) -> None:
    """Checkpoints of the original BERT call a norm's weights gamma and beta; the library would save them so again."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForMaskedLM

    made = parts("prune")
    made["model"].save_pretrained(tmp_path / "older")
    file = tmp_path / "older" / "model.safetensors"
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in load_file(file).items()
    }
    save_file(renamed, file, metadata={"format": "pt"})

    def trainer(folder: str) -> Any:
        model = AutoModelForMaskedLM.from_pretrained(tmp_path / "older")
        changes = {"lr_schedule": None, "pruner": None, "model": model, "objective": made["objective"]}
        return make_trainer("prune", tmp_path / folder, **changes)

    whole = trainer("run")
    whole.train()
    shutil.rmtree(tmp_path / "run" / "checkpoint-10")
    resumed = trainer("run")
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == STEPS
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    assert "save_pretrained" not in vars(resumed.model)
