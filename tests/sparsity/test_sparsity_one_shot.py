"""Layer-wise reconstruction of whole models."""

import copy
import logging

import pytest
import torch
from sparsity_models import CONFIGS, classifier, weight_bits
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForQuestionAnswering, PreTrainedConfig

from pruneofa.architectures.linears import encoder_linears
from pruneofa.errors import ConfigurationError, DataError
from pruneofa.sparsity.budget import prune_count
from pruneofa.sparsity.reconstruction import layerwise
from pruneofa.sparsity.reconstruction.config import ReconstructionConfig
from pruneofa.sparsity.reconstruction.layerwise import reconstruct


def batches(count: int = 6, seed: int = 0, padding: int = 0) -> list[dict[str, Tensor]]:
    """Random texts of 9 tokens, two of each batch shorter; `padding` further columns that are no text."""
    generator, other = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1)
    found = []
    for _ in range(count):
        ids = torch.randint(3, 40, (8, 9), generator=generator)
        mask = torch.ones_like(ids)
        mask[:2, 6:] = 0
        noise = torch.randint(3, 40, (8, padding), generator=other)
        found.append({"input_ids": torch.cat([ids, noise], 1), "attention_mask": nn.functional.pad(mask, (0, padding))})
    return found


def quick(**changes: object) -> ReconstructionConfig:
    return ReconstructionConfig(**{"target_sparsity": 0.6, "iterations": 10, "budget": "sensitivity", **changes})


def states(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        hidden: Tensor = model.base_model(**batch).last_hidden_state
    return hidden[batch["attention_mask"].bool()]


def magnitude_pruned(model: nn.Module, sparsity: float) -> nn.Module:
    pruned = copy.deepcopy(model)
    for linear in encoder_linears(pruned).values():
        values = linear.weight.data.abs().flatten()
        linear.weight.data[linear.weight.abs() <= values.kthvalue(int(sparsity * len(values))).values] = 0.0
    return pruned


@pytest.mark.parametrize("family", sorted(CONFIGS))
@pytest.mark.parametrize("masks", ["admm", "obs"])
def test_every_family_ends_at_the_sparsity_and_nearer_than_magnitude(family: str, masks: str) -> None:
    dense = classifier(family).eval()
    model = copy.deepcopy(dense)
    reports = reconstruct(model, batches(), quick(masks=masks))
    linears = encoder_linears(model)
    assert sorted(report.name for report in reports) == sorted(linears)
    zeros = 0
    for report in reports:
        bits = weight_bits(linears[report.name].weight)
        assert int((bits == 0).sum()) == report.zeros  # all of them +0.0
        assert 0.0 <= report.relative_error < 1.0
        zeros += report.zeros
    assert zeros == prune_count(0.6, sum(linear.weight.numel() for linear in linears.values()))
    held_out = batches(1, seed=9)[0]
    wanted = states(dense, held_out)
    error = (states(model, held_out) - wanted).square().sum()
    assert error < (states(magnitude_pruned(dense, 0.6), held_out) - wanted).square().sum()


@pytest.mark.parametrize("target", [0.0, 0.29, 0.9])
def test_uniform_budgets_hold_in_every_tensor(target: float) -> None:
    model = classifier()
    for report in reconstruct(model, batches(2), quick(target_sparsity=target, budget="uniform")):
        assert report.zeros == prune_count(target, report.size)


def test_at_no_sparsity_the_model_computes_as_before() -> None:
    dense = classifier().eval()
    model = copy.deepcopy(dense)
    reconstruct(model, batches(), quick(target_sparsity=0.0))
    torch.testing.assert_close(states(model, batches(1)[0]), states(dense, batches(1)[0]), rtol=1e-4, atol=1e-4)


def test_padding_is_no_data() -> None:
    models = [classifier().double(), classifier().double()]
    for model, padding in zip(models, (0, 5), strict=True):
        reconstruct(model, batches(padding=padding), quick(masks="obs"))
    for one, other in zip(*(encoder_linears(model).values() for model in models), strict=True):
        torch.testing.assert_close(one.weight, other.weight, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForQuestionAnswering])
def test_other_heads_and_none(auto_class: type) -> None:
    model = auto_class.from_config(copy.deepcopy(CONFIGS["bert"]))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    names = {report.name for report in reconstruct(model, batches(2), quick(ignore=["*.1.attention.*"]))}
    assert names
    assert not any(".1.attention." in name for name in names)
    for name, value in model.state_dict().items():
        if name.rpartition(".")[0] not in names:
            assert torch.equal(value, before[name]), name


def test_residual_targets_bring_the_last_states_nearer() -> None:
    dense = classifier("bert", seed=3).eval()
    errors = []
    for residual in (False, True):
        model = copy.deepcopy(dense)
        reconstruct(model, batches(12), quick(budget="uniform", residual_targets=residual))
        held_out = batches(2, seed=8)[0]
        errors.append(float((states(model, held_out) - states(dense, held_out)).square().sum()))
    assert errors[1] < errors[0]


def test_each_layer_reads_what_the_pruned_layers_before_give(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, Tensor] = {}

    class Recording(layerwise.InputMoments):
        def add(self, inputs: Tensor, targets: dict[str, Tensor]) -> None:
            seen.setdefault(len(seen), inputs)
            super().add(inputs, targets)

    monkeypatch.setattr(layerwise, "InputMoments", Recording)
    model, [batch] = classifier().eval(), batches(1)
    reconstruct(model, [batch], quick(budget="uniform"))
    hidden: list[Tensor] = []
    layer = model.base_model.encoder.layer[1]
    layer.register_forward_pre_hook(lambda _, args: hidden.append(args[0]))
    states(model, batch)
    torch.testing.assert_close(seen[4], hidden[0][batch["attention_mask"].bool()])  # 4 groups in layer 0


def test_few_tokens_are_named_and_damped_more(caplog: pytest.LogCaptureFixture) -> None:
    short = [{name: values[:1, :4] for name, values in batches(1)[0].items()}]
    with caplog.at_level(logging.WARNING):
        reports = reconstruct(classifier(), short, quick())
    assert {report.tokens for report in reports} == {4}
    assert all(report.damping == 0.1 for report in reports)
    assert "4 tokens" in caplog.text
    assert "damping" in caplog.text


def test_faults_are_refused_before_anything_changes() -> None:
    model = classifier()
    with pytest.raises(DataError, match="at least one batch"):
        reconstruct(model, [], quick())
    empty = {name: values.clone() for name, values in batches(1)[0].items()}
    empty["attention_mask"].zero_()
    with pytest.raises(DataError, match="no token"):
        reconstruct(model, [empty], quick())
    name, linear = list(encoder_linears(model).items())[3]
    linear.weight.data[1, 2] = float("nan")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(DataError, match=f"the weight of '{name}' holds NaN"):
        reconstruct(model, batches(1), quick())
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0, equal_nan=True)
    with pytest.raises(ValueError, match="less than 1"):
        quick(target_sparsity=1.0)


def test_a_layer_that_is_called_twice_is_refused() -> None:
    model = classifier()
    encoder = model.base_model.encoder
    whole = encoder.forward

    def twice(hidden: Tensor, *args: object, **kwargs: object) -> object:
        encoder.layer[0](hidden)
        return whole(hidden, *args, **kwargs)

    encoder.forward = twice
    with pytest.raises(ConfigurationError, match="layer-wise reconstruction"):
        reconstruct(model, batches(1), quick())


def test_a_family_that_is_not_registered_is_pruned_too() -> None:
    model = classifier()
    config: PreTrainedConfig = model.config
    config.model_type = "somebodys-own"
    reports = reconstruct(model, batches(2), quick())
    assert len(reports) == 12
