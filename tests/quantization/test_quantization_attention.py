import copy

import pytest
import torch
from quantization_models import CONFIGS, classifier, tokens, train
from torch import nn

from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.quantization.attention import IMPLEMENTATION, attention_modules
from pruneofa.quantization.calibration import calibrate
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.parameters import LinearParameters, QuantizedState
from pruneofa.quantization.qat import (
    convert,
    enable_fake_quantization,
    prepare_from_state,
    prepare_qat,
    quantized_linears,
)

PRODUCTS = QuantizationConfig(attention_products=True)


def answer(model: nn.Module, batch: torch.Tensor | None = None) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(tokens(99) if batch is None else batch).logits


def calibrated(family: str, config: QuantizationConfig = PRODUCTS) -> nn.Module:
    model = prepare_qat(classifier(family), config)
    calibrate(model, [{"input_ids": tokens(seed)} for seed in range(3)])
    return model


@pytest.mark.parametrize("family", CONFIGS)
def test_products_change_the_answers_a_little_and_can_be_switched(family: str) -> None:
    with_products = calibrated(family)
    without = calibrated(family, QuantizationConfig(quantize_outputs=("q", "k", "v", "ffn_in", "pooler")))
    assert len(attention_modules(with_products)) == 2
    difference = (answer(with_products) - answer(without)).abs().max()
    assert 0 < difference < 0.2
    for products in attention_modules(with_products).values():
        products.quantizes = False
    assert torch.allclose(answer(with_products), answer(without), atol=1e-5)
    enable_fake_quantization(with_products, False)
    assert torch.allclose(answer(with_products), answer(classifier(family)), atol=1e-5)


@pytest.mark.parametrize("family", CONFIGS)
def test_convert_leaves_a_plain_model_and_the_state_restores_the_answers(family: str) -> None:
    model, plain = calibrated(family), classifier(family)
    kinds = [type(module) for module in plain.modules()]
    before = answer(model)
    state = convert(model)
    assert [type(module) for module in model.modules()] == kinds
    assert model.config._attn_implementation == plain.config._attn_implementation
    assert not attention_modules(model)
    assert "implementation" not in model.config.to_json_string()
    prepare_from_state(model, state)
    assert torch.equal(answer(model), before)
    assert torch.equal(answer(copy.deepcopy(model)), before)


@pytest.mark.parametrize("family", ["bert", "distilbert", "mpnet"])
def test_a_batch_with_padding_gives_what_each_text_gives_alone(family: str) -> None:
    model = calibrated(family)
    short, pad = tokens(5, batch=1, length=6), 0 if family != "mpnet" else 1
    padded = torch.cat([short, torch.full((1, 3), pad)], 1)
    mask = torch.tensor([[1] * 6 + [0] * 3])
    with torch.inference_mode():
        together = model.eval()(padded, attention_mask=mask).logits
        alone = model(short, attention_mask=torch.ones_like(short)).logits
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "distilbert", "mpnet"])
def test_training_learns_through_the_products(family: str) -> None:
    model = prepare_qat(classifier(family), PRODUCTS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = [train(model, optimizer, range(1))[0] for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    assert all(linear.weight.grad.abs().sum() > 0 for linear in quantized_linears(model).values())


@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_bfloat16_autocast_trains(family: str) -> None:
    model = calibrated(family).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(tokens(0), labels=torch.arange(4) % 2)
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = model.eval()(tokens(99)).logits
    assert torch.allclose(reduced.float(), answer(model), atol=0.1 * answer(model).abs().max().item() + 0.05)


def test_two_models_of_one_process_do_not_disturb_each_other() -> None:
    plain, prepared = classifier("bert"), calibrated("bert")
    assert prepared.config._attn_implementation == IMPLEMENTATION
    assert plain.config._attn_implementation == "sdpa"
    expected = answer(classifier("bert"))
    assert torch.equal(answer(plain), expected)


def test_dropout_of_attention_acts_in_training_alone() -> None:
    model = calibrated("bert")
    for layer in model.bert.encoder.layer:
        layer.attention.self.dropout.p = 0.5
    assert torch.equal(answer(model), answer(model))
    model.train()
    with torch.no_grad():
        assert not torch.equal(model(tokens(99)).logits, model(tokens(99)).logits)


def test_attention_weights_are_given_where_asked() -> None:
    model = calibrated("mpnet").eval()
    with torch.no_grad():
        attentions = model(tokens(1), output_attentions=True).attentions
    assert attentions[0].shape == (4, 2, 9, 9)
    assert torch.allclose(attentions[0].sum(-1), torch.ones(4, 2, 9))


def test_what_stands_in_the_way_is_named() -> None:
    with pytest.raises(
        ConfigurationError, match=r"needs q, k and v of 'bert.encoder.layer.0.attention.self' quantized"
    ):
        prepare_qat(classifier("bert"), QuantizationConfig(attention_products=True, ignore=("*.value",)))

    class OwnAttention(nn.Module):
        def __init__(self, other: nn.Module) -> None:
            super().__init__()
            self.q, self.k, self.v = other.q, other.k, other.v

    model = classifier("mpnet")
    model.mpnet.encoder.layer[1].attention.attn = OwnAttention(model.mpnet.encoder.layer[1].attention.attn)
    with pytest.raises(
        ConfigurationError, match=r"OwnAttention \('mpnet.encoder.layer.1.attention.attn'\) computes its"
    ):
        prepare_qat(model, PRODUCTS)
    assert not attention_modules(model)


def test_a_state_without_the_grids_is_refused() -> None:
    model = calibrated("bert", QuantizationConfig())
    state = convert(model)
    wrong = QuantizedState(PRODUCTS, state.modules)
    with pytest.raises(CheckpointError, match=r"no output grid is stored for '.*attention.self.value'"):
        prepare_from_state(model, wrong)
    assert isinstance(next(iter(state.modules.values())), LinearParameters)
