from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import TRAINING, Blocks, Reviews, bert, folders, make_sparse, parts
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    DistilBertConfig,
    ElectraConfig,
    MPNetConfig,
    RobertaConfig,
)

from pruneofa.errors import ConfigurationError
from pruneofa.training.objectives import MaskedLanguageModeling, TaskLoss
from pruneofa.training.run import Examples, TrainingRun
from pruneofa.training.session import set_dropout, train_model
from pruneofa.training.trainer.checkpoints import latest_checkpoint

CHANGED: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 20,
    "hidden_dropout_prob": 0.5,
    "attention_probs_dropout_prob": 0.5,
}
FAMILIES = {
    "bert": BertConfig(**CHANGED),
    "distilbert": DistilBertConfig(
        vocab_size=60, dim=16, n_layers=1, n_heads=2, hidden_dim=16, dropout=0.5, attention_dropout=0.5
    ),
    "electra": ElectraConfig(**CHANGED, embedding_size=8),
    "mpnet": MPNetConfig(**CHANGED),
    "roberta": RobertaConfig(**CHANGED),
}


def trained(folder: Path, model: Any = None, **changes: Any) -> tuple[Any, list[dict[str, Any]]]:
    model = model if model is not None else bert(BertForMaskedLM, 1, dropout=0.2)
    config = TRAINING.model_copy(update={"max_steps": 4, "eval_steps": None, **changes})
    log = train_model(
        model,
        MaskedLanguageModeling(),
        config,
        Examples(Blocks(), 0, Blocks(6, seed=9)),
        TrainingRun("test", folder, 5),
    )
    return model, log


def same(left: Any, right: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left.parameters(), right.parameters(), strict=True))


def test_run_is_repeatable_and_leaves_its_log_and_checkpoints(tmp_path: Path) -> None:
    model, log = trained(tmp_path / "first")
    again, _ = trained(tmp_path / "second")
    assert same(model, again)
    assert [entry["step"] for entry in log if "loss" in entry] == [3]
    assert [entry["step"] for entry in log if "eval_loss" in entry] == [4]
    assert folders(tmp_path / "first") == ["checkpoint-2", "checkpoint-4"]


def test_last_step_is_evaluated_once(tmp_path: Path) -> None:
    _, log = trained(tmp_path, eval_steps=3)
    assert [entry["step"] for entry in log if "eval_loss" in entry] == [3, 4]
    _, again = trained(tmp_path, eval_steps=3)  # the run is found finished
    assert [entry["step"] for entry in again if "eval_loss" in entry] == [3, 4]


@pytest.mark.parametrize("batching", ["padded", "packed"])
def test_run_goes_on_bit_identical_however_batches_are_made(batching: str, tmp_path: Path) -> None:
    whole, _ = trained(tmp_path / "whole", batching=batching)
    trained(tmp_path / "broken", batching=batching)
    (tmp_path / "broken" / "checkpoint-4" / "model.safetensors").unlink()
    resumed, _ = trained(tmp_path / "broken", batching=batching)
    assert same(whole, resumed)


def test_packed_run_is_evaluated_as_any_other(tmp_path: Path) -> None:
    """And without dropout it is the padded run, but for rounding."""
    logs = [trained(tmp_path / name, batching=name, dropout=0.0)[1] for name in ("padded", "packed")]
    losses = [[entry["eval_loss"] for entry in log if "eval_loss" in entry] for log in logs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_packing_is_refused_for_a_task(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"test\.training\.batching is 'packed', which is for pre-training"):
        train_model(
            bert(BertForSequenceClassification, 3),
            TaskLoss(),
            TRAINING.model_copy(update={"max_steps": 2, "eval_steps": None, "batching": "packed"}),
            Examples(Reviews(8), 0),
            TrainingRun("test", tmp_path, 0),
        )


def test_run_goes_on_from_the_latest_sound_checkpoint_or_the_one_named(tmp_path: Path) -> None:
    whole, _ = trained(tmp_path / "whole")
    for damaged in ("checkpoint-4", None):
        folder = tmp_path / f"without {damaged}"
        trained(folder)
        if damaged:
            (folder / damaged / "model.safetensors").unlink()
        resumed, log = trained(folder)
        assert same(whole, resumed)
        assert log[0]["step"] == 3
    latest = latest_checkpoint(tmp_path / "whole")
    model = bert(BertForMaskedLM, 7)
    train_model(
        model,
        MaskedLanguageModeling(),
        TRAINING.model_copy(update={"max_steps": 4, "eval_steps": None}),
        Examples(Blocks(), 0),
        TrainingRun("test", tmp_path / "elsewhere", 5, latest),
    )
    assert same(whole, model)


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_reaches_every_layer_and_not_the_saved_settings(family: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(FAMILIES[family]).train()
    ids = torch.arange(5, 15)[None]
    settings = model.config.to_dict()
    assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    set_dropout(model, None)
    assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    set_dropout(model, 0.0)
    silent = model(input_ids=ids).logits
    assert torch.equal(silent, model(input_ids=ids).logits)
    assert torch.allclose(silent, model.eval()(input_ids=ids).logits, atol=1e-6)
    assert model.config.to_dict() == settings


def test_settings_of_the_session_have_an_effect(tmp_path: Path) -> None:
    usual, _ = trained(tmp_path / "usual")
    assert not same(usual, trained(tmp_path / "dropout", dropout=0.0)[0])
    assert not same(usual, trained(tmp_path / "order", batching="padded")[0])


def test_gradient_checkpointing_changes_memory_alone(tmp_path: Path) -> None:
    results = []
    for name, on in (("usual", False), ("checkpointing", True)):
        model = bert(BertForMaskedLM, 1, dropout=0.2)
        forwards: list[int] = []
        layer = model.bert.encoder.layer[0].intermediate.dense
        layer.register_forward_hook(lambda *_, forwards=forwards: forwards.append(1))
        trained(tmp_path / name, model, gradient_checkpointing=on)
        results.append((model, len(forwards)))
    (usual, once), (checkpointed, again) = results
    assert same(usual, checkpointed)
    assert again > once


def test_data_smaller_than_a_batch_is_trained_on(tmp_path: Path) -> None:
    model = bert(BertForSequenceClassification, 3)
    config = TRAINING.model_copy(update={"max_steps": 2, "per_device_train_batch_size": 50, "eval_steps": None})
    log = train_model(
        model,
        TaskLoss(),
        config,
        Examples(Reviews(5), 0),
        TrainingRun("test", tmp_path, 0),
    )
    assert log[-1]["step"] == 2


def test_rewinding_needs_pruning(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="lr_scheduler_type is 'rewinding', which follows pruning"):
        trained(tmp_path, lr_scheduler_type="rewinding")


def test_evaluation_needs_data(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match="eval_steps is 5, but teach has no data to evaluate on while training"
    ):
        train_model(
            bert(BertForMaskedLM, 1),
            MaskedLanguageModeling(),
            TRAINING,
            Examples(Blocks(), 0),
            TrainingRun("teach", tmp_path, 5),
        )


def test_pruner_and_metrics_are_passed_on(tmp_path: Path) -> None:
    made = parts("prune")
    log = train_model(
        made["model"],
        made["objective"],
        TRAINING.model_copy(update={"lr_scheduler_type": "rewinding_cycles", "eval_steps": None}),
        Examples(made["train_dataset"], 0),
        TrainingRun("test", tmp_path / "prune", 5),
        pruner=made["pruner"],
    )
    assert [entry["sparsity/target"] for entry in log if "loss" in entry][-1] == 0.7
    model = bert(BertForSequenceClassification, 3)
    make_sparse(model)
    log = train_model(
        model,
        TaskLoss(),
        TRAINING.model_copy(update={"max_steps": 2, "eval_steps": None}),
        Examples(Reviews(), 0, Reviews(8, seed=3), lambda found: {"rows": float(found.predictions.shape[0])}),
        TrainingRun("test", tmp_path / "task", 5),
    )
    assert log[-1]["eval_rows"] == 8.0
