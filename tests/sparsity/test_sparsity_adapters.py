"""Adapters beside sparse layers: they learn, are never pruned or locked, and merging them loses no zero silently."""

import logging

import pytest
import torch
from sparsity_models import adamw, classifier, loss_of, ramp, train
from test_sparsity_keeping import sparse, zeros
from torch import nn

from pruneofa.architectures.linears import adapters, encoder_linears, pooler_linears
from pruneofa.errors import ConfigurationError
from pruneofa.models.saving import save_model
from pruneofa.sparsity.lock import lock_pattern
from pruneofa.sparsity.ownership import current_owner, mend_zeros
from pruneofa.sparsity.pruner import Pruner
from pruneofa.sparsity.zeros import is_sparse


class Lora(nn.Module):
    """An adapted layer in the form of the package peft: the layer before, and a product beside it."""

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer.requires_grad_(False)
        self.lora_A = nn.ModuleDict({"default": nn.Linear(base_layer.in_features, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, base_layer.out_features, bias=False)})
        nn.init.zeros_(self.lora_B["default"].weight)

    @property
    def weight(self) -> nn.Parameter:
        return self.base_layer.weight

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.base_layer(values) + self.lora_B["default"](self.lora_A["default"](values))


def adapt(model: nn.Module) -> nn.Module:
    for layer in model.bert.encoder.layer:
        layer.attention.self.query = Lora(layer.attention.self.query)
    return model


def merge(model: nn.Module) -> nn.Module:
    for layer in model.bert.encoder.layer:
        adapted = layer.attention.self.query
        with torch.no_grad():
            adapted.base_layer.weight += adapted.lora_B["default"].weight @ adapted.lora_A["default"].weight
        layer.attention.self.query = adapted.base_layer
    return model


def steps(model: nn.Module, count: int) -> None:
    optimizer = adamw(model)
    for step in range(count):
        loss_of(model, step).backward()
        optimizer.step()
        optimizer.zero_grad()


QUERY = "bert.encoder.layer.0.attention.self.query"


def test_adapters_are_no_layers_of_the_encoder() -> None:
    model = adapt(classifier())
    assert {name for name in encoder_linears(model) if QUERY in name} == {f"{QUERY}.base_layer"}
    assert len(encoder_linears(model)) == len(encoder_linears(classifier()))
    assert f"{QUERY}.lora_A.default" in adapters(model)
    model.bert.pooler.dense = Lora(model.bert.pooler.dense)
    assert list(pooler_linears(model)) == ["bert.pooler.dense.base_layer"]
    assert adapters(classifier()) == set()


@pytest.mark.parametrize("first", ["lock", "adapters"])
def test_adapters_of_a_locked_model_learn_and_merging_is_told(first: str, caplog: pytest.LogCaptureFixture) -> None:
    model = sparse()
    before = zeros(model)
    if first == "lock":
        lock_pattern(model)
        adapt(model)
    else:
        lock_pattern(adapt(model))
    steps(model, 3)
    assert all(layer.attention.self.query.lora_B["default"].weight.all() for layer in model.bert.encoder.layer)
    assert zeros(model) == before
    merge(model)
    assert zeros(model) < before
    with caplog.at_level(logging.WARNING, logger="pruneofa"):
        assert mend_zeros(model, "saving") > 0
    assert zeros(model) == before
    assert "They are zero again" in caplog.messages[0]


def test_adapters_are_not_pruned() -> None:
    model = adapt(classifier())
    pruner, optimizer = Pruner(model, ramp()), adamw(model)
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(9))
    adapted = model.bert.encoder.layer[0].attention.self.query
    assert adapted.lora_A["default"].weight.all() and adapted.lora_B["default"].weight.all()
    assert zeros(model) == sum(linear.weight.numel() * 7 // 10 for linear in encoder_linears(model).values())


def test_whether_a_model_is_sparse_is_no_matter_of_its_adapters() -> None:
    assert not is_sparse(adapt(classifier()))
    assert is_sparse(adapt(sparse()))


def test_a_model_with_adapters_is_not_saved_as_if_it_had_none(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match=r"adapters that are not merged .* merge_and_unload\(\)"):
        save_model(adapt(sparse()), None, tmp_path / "m", stage="test")
    assert list(tmp_path.iterdir()) == []


def test_the_package_peft_is_understood(caplog: pytest.LogCaptureFixture) -> None:
    peft = pytest.importorskip("peft")
    model = sparse()
    before = zeros(model)
    wrapped = peft.get_peft_model(
        model, peft.LoraConfig(r=2, target_modules=["query", "value"], task_type="SEQ_CLS")
    ).train()
    lock = lock_pattern(wrapped)
    assert current_owner(wrapped) is current_owner(model) is lock
    assert not any("lora" in name for name in lock.masks)
    steps(wrapped, 3)
    assert model.bert.encoder.layer[0].attention.self.query.lora_B["default"].weight.all()
    assert zeros(model) == before
    merged = wrapped.merge_and_unload()
    assert zeros(merged) < before
    with caplog.at_level(logging.WARNING, logger="pruneofa"):
        mend_zeros(merged, "saving")
    assert zeros(merged) == before
    assert len(caplog.messages) == 1
