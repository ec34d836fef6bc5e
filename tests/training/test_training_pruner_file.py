from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_runs import SPARSITY, bert, make_trainer
from transformers import BertForMaskedLM

from pruneofa.errors import CheckpointError
from pruneofa.sparsity.pruner import Pruner
from pruneofa.training.trainer.pruner_file import load_pruner, save_pruner


@pytest.fixture
def advanced(tmp_path: Path) -> Pruner:
    trainer = make_trainer("prune", tmp_path / "run")
    trainer.train()
    load_pruner(trainer.pruner, tmp_path / "run" / "checkpoint-8" / "pruner.safetensors")
    return trainer.pruner


def middle_of_a_run() -> Pruner:
    """Masks selected once, values under them kept."""
    model = bert(BertForMaskedLM, 1)
    pruner = Pruner(model, SPARSITY)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pruner.attach(optimizer)
    for _ in range(4):
        model(input_ids=torch.arange(5, 15)[None], labels=torch.arange(5, 15)[None]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        pruner.step()
    return pruner


def test_round_trip_is_exact(tmp_path: Path) -> None:
    pruner = middle_of_a_run()
    save_pruner(pruner, tmp_path / "pruner.safetensors")
    other = Pruner(bert(BertForMaskedLM, 2), SPARSITY)
    load_pruner(other, tmp_path / "pruner.safetensors")
    first, second = pruner.state_dict(), other.state_dict()
    assert other.completed_steps == 4 and not other.frozen
    assert list(first) == list(second)
    assert list(first["masks"]) == list(second["masks"])
    for kind in ("masks", "hidden"):
        assert first[kind] and all(torch.equal(first[kind][name], second[kind][name]) for name in first[kind])


def test_masks_take_a_bit_and_values_only_where_pruned(tmp_path: Path) -> None:
    pruner = middle_of_a_run()
    save_pruner(pruner, tmp_path / "pruner.safetensors")
    counts = pruner.masks.counts()
    tensors = load_file(tmp_path / "pruner.safetensors")
    for name, (zeros, size) in counts.items():
        assert tensors[f"masks:{name}"].numel() == -(-size // 8)
        assert tensors[f"hidden:{name}"].numel() == zeros


def test_frozen_pruner_keeps_no_values(advanced: Pruner, tmp_path: Path) -> None:
    assert advanced.frozen
    save_pruner(advanced, tmp_path / "pruner.safetensors")
    assert all(name.startswith("masks:") for name in load_file(tmp_path / "pruner.safetensors"))


def test_damaged_or_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pruner.safetensors"
    pruner = middle_of_a_run()
    save_pruner(pruner, path)
    content = path.read_bytes()
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}  # those read lie in the file itself
    target = Pruner(bert(BertForMaskedLM, 2), SPARSITY)
    for damaged in (b"", content[:7], content[: len(content) // 2], b"\xff" * 64):
        path.write_bytes(damaged)
        with pytest.raises(
            CheckpointError, match=r"pruner\.safetensors: no readable pruner state .* earlier checkpoint"
        ):
            load_pruner(target, path)
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match="format is None; allowed: 'pruneofa-pruner-1'"):
        load_pruner(target, path)
    save_file(tensors, path, metadata={"format": "pruneofa-pruner-1"})
    with pytest.raises(CheckpointError, match="no readable pruner state"):
        load_pruner(target, path)
    for scalars, order in (("[]", "{}"), ("{}", "[]"), ("{}", '{"masks": ["nothing"]}'), ('{"frozen": true}', "{}")):
        save_file(tensors, path, metadata={"format": "pruneofa-pruner-1", "scalars": scalars, "order": order})
        with pytest.raises(CheckpointError):
            load_pruner(target, path)
    assert target.completed_steps == 0
    path.unlink()
    with pytest.raises(CheckpointError, match="no readable pruner state"):
        load_pruner(target, path)


def test_state_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pruner.safetensors"
    save_pruner(middle_of_a_run(), path)
    with pytest.raises(CheckpointError, match=r"holds masks of 12 modules, this pruner has 11"):
        load_pruner(Pruner(bert(BertForMaskedLM, 2), SPARSITY.model_copy(update={"ignore": ["*0.output.dense"]})), path)
