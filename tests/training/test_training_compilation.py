from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from training_runs import TRAINING, bert, parts
from transformers import BertForMaskedLM

from pruneofa.training import session
from pruneofa.training.compilation import compiled_layers
from pruneofa.training.run import Examples, TrainingRun

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def forget_compilations() -> Any:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("batching", ["bucketed", "packed"])
@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_run_with_pruner_and_teacher_is_the_plain_one(
    batching: str, recompute: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = CompileCounterWithBackend("eager")  # compiles for real, and runs torch's own kernels
    monkeypatch.setattr(session, "compiled_layers", partial(compiled_layers, backend=counter))
    results = []
    for compiled in (False, True):
        made = parts("prune", dropout=0.0)
        changes = {
            "gradient_accumulation_steps": 1,
            "eval_steps": None,
            "batching": batching,
            "torch_compile": compiled,
            "gradient_checkpointing": recompute,
        }
        log = session.train_model(
            made["model"],
            made["objective"],
            TRAINING.model_copy(update=changes),
            Examples(made["train_dataset"], 0, made["eval_dataset"]),
            TrainingRun("test", tmp_path / f"{compiled}", 5),
            pruner=made["pruner"],
        )
        results.append((made, log))
        assert (counter.frame_count > 0) is compiled
    (plain, _), (compiled_parts, log) = results
    assert plain["model"].state_dict().keys() == compiled_parts["model"].state_dict().keys()
    for mine, theirs in zip(plain["model"].parameters(), compiled_parts["model"].parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)
    assert compiled_parts["pruner"].masks.digest() == plain["pruner"].masks.digest()
    assert [entry for entry in log if "eval_loss" in entry]


def test_layers_are_plain_again_afterwards() -> None:
    model = bert(BertForMaskedLM, 1)
    names = list(model.state_dict())
    with compiled_layers([model], backend="eager"):
        assert all(layer._compiled_call_impl is not None for layer in model.bert.encoder.layer)
        assert list(model.state_dict()) == names
    assert all(layer._compiled_call_impl is None for layer in model.bert.encoder.layer)
