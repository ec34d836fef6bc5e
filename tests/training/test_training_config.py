import math
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import TRAINING, make_trainer
from transformers import TrainingArguments

from pruneofa.errors import ConfigurationError
from pruneofa.training import config as config_module
from pruneofa.training.config import TrainingConfig, training_arguments, uses_bfloat16

# field: (value other than the default, what transformers' arguments then hold)
TRANSLATED: dict[str, tuple[Any, dict[str, Any]]] = {
    "max_steps": (77, {"max_steps": 77}),
    "num_train_epochs": (2.5, {"num_train_epochs": 2.5, "max_steps": -1}),
    "per_device_train_batch_size": (7, {"per_device_train_batch_size": 7}),
    "per_device_eval_batch_size": (9, {"per_device_eval_batch_size": 9}),
    "gradient_accumulation_steps": (3, {"gradient_accumulation_steps": 3}),
    "learning_rate": (1e-3, {"learning_rate": 1e-3}),
    "lr_scheduler_type": ("cosine", {"lr_scheduler_type": "cosine"}),
    "warmup_ratio": (0.25, {"warmup_steps": 0.25}),
    "weight_decay": (0.3, {"weight_decay": 0.3}),
    "adam_beta2": (0.98, {"adam_beta2": 0.98}),
    "max_grad_norm": (0.5, {"max_grad_norm": 0.5}),
    "precision": ("bfloat16", {"bf16": True}),
    "logging_steps": (11, {"logging_steps": 11}),
    "eval_steps": (13, {"eval_steps": 13, "eval_strategy": "steps"}),
    "save_steps": (17, {"save_steps": 17, "save_strategy": "steps"}),
    "save_total_limit": (5, {"save_total_limit": 5}),
    "dataloader_num_workers": (2, {"dataloader_num_workers": 2}),
    "report_to": (["tensorboard"], {"report_to": ["tensorboard"]}),
}
# Fields that act where the run is set up; see test_training_session.py.
OF_THE_SESSION = {"dropout", "batching", "gradient_checkpointing", "torch_compile"}
# Fields that need another one; see below.
TOGETHER = {"metric_for_best_model", "load_best_model_at_end"}
# Fields for several processes; see test_training_distributed.py.
OF_SEVERAL = {"fsdp", "fsdp_reshard_after_forward"}


def test_every_field_is_looked_at() -> None:
    assert TRANSLATED.keys() | OF_THE_SESSION | TOGETHER | OF_SEVERAL == TrainingConfig.model_fields.keys()


@pytest.mark.parametrize("field", TRANSLATED)
def test_field_reaches_transformers(field: str, tmp_path: Path) -> None:
    value, expected = TRANSLATED[field]
    default = training_arguments(TrainingConfig(precision="float32"), tmp_path, 3)
    changed = training_arguments(TrainingConfig(**{"precision": "float32", field: value}), tmp_path, 3)
    found = {name: getattr(changed, name) for name in expected}
    assert found == expected
    assert any(getattr(default, name) != found[name] for name in found)


def test_best_model_is_told_where_there_is_evaluation(tmp_path: Path) -> None:
    config = TrainingConfig(eval_steps=5, save_steps=10, metric_for_best_model="f1", load_best_model_at_end=True)
    arguments = training_arguments(config, tmp_path, 3)
    assert (arguments.metric_for_best_model, arguments.greater_is_better) == ("f1", True)
    assert arguments.load_best_model_at_end
    silent = training_arguments(TrainingConfig(metric_for_best_model="f1"), tmp_path, 3)
    assert (silent.metric_for_best_model, silent.load_best_model_at_end) == (None, False)


def test_what_is_not_for_the_user_is_set_for_safety(tmp_path: Path) -> None:
    arguments = training_arguments(TrainingConfig(), tmp_path, 3)
    assert (arguments.seed, arguments.output_dir) == (3, str(tmp_path))
    assert arguments.logging_nan_inf_filter is False
    assert arguments.remove_unused_columns is False
    assert arguments.report_to == []
    assert arguments.eval_strategy == "no"
    assert (arguments.max_steps, arguments.num_train_epochs) == (-1, 3.0)
    assert arguments.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_one_process_has_nothing_to_split_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arguments = training_arguments(TrainingConfig(fsdp=True), tmp_path, 3)
    assert "fsdp is left out: there is one process only" in caplog.text
    assert not arguments.fsdp


def test_a_process_uses_one_device(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda self: getattr(self, "_n_gpu", 4) or 4))
    arguments = training_arguments(TrainingConfig(), tmp_path, 3)
    assert "4 GPUs are there, and this process uses one; start one process for each: torchrun" in caplog.text
    assert arguments.n_gpu == 1


@pytest.mark.parametrize("schedule", ["rewinding", "rewinding_cycles"])
def test_rewinding_never_reaches_transformers(schedule: str, tmp_path: Path) -> None:
    assert training_arguments(TrainingConfig(lr_scheduler_type=schedule), tmp_path, 0).lr_scheduler_type == "linear"


def test_warmup_is_a_share_of_all_steps(tmp_path: Path) -> None:
    arguments = training_arguments(TrainingConfig(max_steps=100_000, warmup_ratio=0.01), tmp_path, 0)
    assert arguments.get_warmup_steps(100_000) == 1_000
    assert training_arguments(TrainingConfig(), tmp_path, 0).get_warmup_steps(100) == 0


@pytest.mark.parametrize(("length", "steps"), [({"max_steps": 5}, 5), ({"num_train_epochs": 1.5}, math.ceil(1.5 * 4))])
def test_length_is_steps_or_epochs(length: dict[str, Any], steps: int, tmp_path: Path) -> None:
    changes = {"max_steps": None, "eval_steps": None, **length}
    trainer = make_trainer("lock", tmp_path, TRAINING.model_copy(update=changes))
    trainer.train()
    assert trainer.state.global_step == steps


def test_precision_follows_the_machine_only_where_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    for pays in (True, False):
        monkeypatch.setattr(config_module, "bfloat16_pays", lambda pays=pays: pays)
        assert uses_bfloat16(TrainingConfig(precision="auto")) is pays
        assert uses_bfloat16(TrainingConfig(precision="bfloat16"))
        assert not uses_bfloat16(TrainingConfig(precision="float32"))


def test_both_lengths_at_once_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"2\.0 is given beside max_steps = 10; allowed: one of the two"):
        TrainingConfig(max_steps=10, num_train_epochs=2)


def test_faults_are_reported_together() -> None:
    with pytest.raises(ConfigurationError) as caught:
        TrainingConfig(max_steps=0, learning_rate=-1, warmup_ratio=1.0, lr_scheduler_type="zigzag", epochs=3)
    at_fault = {line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]}
    assert at_fault == {"max_steps", "learning_rate", "warmup_ratio", "lr_scheduler_type", "epochs"}


def test_every_field_is_described() -> None:
    assert all(field.description for field in TrainingConfig.model_fields.values())
