import copy

import pytest
import torch
from quantization_models import CONFIGS, classifier, tokens, train
from torch import nn
from transformers import AutoModelForMaskedLM

from pruneofa.architectures.linears import encoder_linears, linear_roles
from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.linear import QATLinear
from pruneofa.quantization.qat import (
    convert,
    enable_fake_quantization,
    prepare_from_state,
    prepare_qat,
    quantized_linears,
    set_observers_frozen,
)
from pruneofa.quantization.weights import integer_weight

SCHEMES = {"default": QuantizationConfig(), "authors": QuantizationConfig.authors()}


def trained(family: str = "bert", config: QuantizationConfig | None = None, steps: int = 3) -> nn.Module:
    model = prepare_qat(classifier(family), config)
    train(model, torch.optim.AdamW(model.parameters(), lr=1e-3), range(steps))
    return model


def answer(model: nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(tokens(99)).logits


@pytest.mark.parametrize("family", CONFIGS)
def test_every_linear_is_prepared_and_outputs_by_role(family: str) -> None:
    model = classifier(family)
    plain = {name for name, module in model.named_modules() if type(module) is nn.Linear}
    parameters = dict(model.named_parameters())
    roles = linear_roles(model)
    assert prepare_qat(model) is model
    linears = quantized_linears(model)
    assert set(linears) == plain
    with_output = {name for name, linear in linears.items() if linear.output_quantizer is not None}
    assert with_output == {name for name, role in roles.items() if role in ("q", "k", "ffn_in", "pooler")}
    assert len(with_output) == 2 * 3 + (family == "bert")
    after = dict(model.named_parameters())
    assert list(after) == list(parameters)
    assert all(after[name] is parameter for name, parameter in parameters.items())
    assert set(encoder_linears(model)) <= plain


def test_targets_and_ignore_choose() -> None:
    model = prepare_qat(classifier("bert"), QuantizationConfig(targets=("bert.encoder.*",), ignore=(r"re:.*\.1\..*",)))
    assert set(quantized_linears(model)) == {name for name in encoder_linears(model) if ".layer.0." in name}
    with pytest.raises(ConfigurationError, match=r"'\*.intermediat' matches no module; nearest modules: "):
        prepare_qat(classifier("bert"), QuantizationConfig(targets=("*.intermediat",)))


def test_hooks_and_optimizer_made_before_go_on_working() -> None:
    model = classifier("bert")
    calls: list[str] = []
    model.bert.pooler.dense.register_forward_hook(lambda *_: calls.append("pooler"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    prepare_qat(model)
    before = model.classifier.weight.clone()
    train(model, optimizer, range(1))
    assert calls == ["pooler"]
    assert not torch.equal(before, model.classifier.weight)


def test_a_layer_computes_on_the_grid() -> None:
    torch.manual_seed(0)
    layer = QATLinear.adopt(nn.Linear(8, 4), QuantizationConfig(), quantize_output=True)
    values = torch.randn(5, 8)
    result = layer(values)
    assert result.unique().numel() <= 256
    assert (
        layer.weight_quantizer(layer.weight).div(layer.weight.abs().amax(1, keepdim=True) / 127).round().abs().max()
        == 127
    )
    difference = (result - nn.functional.linear(values, layer.weight, layer.bias)).abs().max()
    step = layer.output_quantizer.scale + 8 * (layer.input_quantizer.scale + layer.weight.abs().max() / 127) * 3
    assert 0 < difference < step


def test_training_learns_through_the_rounding() -> None:
    model = prepare_qat(classifier("bert"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = [train(model, optimizer, range(1))[0] for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]


def test_masked_weights_stay_zero_through_training_and_convert() -> None:
    model = prepare_qat(classifier("bert"))
    linears = encoder_linears(model)
    masks = {name: linear.weight.abs() > linear.weight.abs().median() for name, linear in linears.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for step in range(4):
        with torch.no_grad():
            for name, linear in linears.items():
                linear.weight.masked_fill_(~masks[name], 0.0)
        loss = model(tokens(step), labels=torch.arange(4) % 2).loss
        optimizer.zero_grad()
        loss.backward()
        for name, linear in linears.items():
            linear.weight.grad.mul_(masks[name])
        optimizer.step()
    for name, linear in linears.items():
        assert linear.weight_quantizer(linear.weight)[~masks[name]].view(torch.int32).eq(0).all()
    convert(model)
    for name, linear in linears.items():
        assert linear.weight[~masks[name]].view(torch.int32).eq(0).all()
        assert linear.weight[masks[name]].ne(0).any()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("family", CONFIGS)
def test_convert_puts_weights_on_the_grid_and_the_state_restores_the_answers(family: str, scheme: str) -> None:
    config = SCHEMES[scheme]
    model = trained(family, config)
    before = answer(model)
    state = convert(model)
    assert state.config == config
    assert not any(isinstance(module, QATLinear) for module in model.modules())
    modules = dict(model.named_modules())
    for name, parameters in state.modules.items():
        linear = modules[name]
        assert type(linear) is nn.Linear
        assert parameters.weight_scale.shape == ((linear.out_features,) if scheme == "default" else (1,))
        levels = integer_weight(linear.weight, parameters.weight_scale, config.weight_grid())
        assert levels.int().abs().max() <= (127 if scheme == "default" else 128)
        product = levels.float() * parameters.weight_scale[:, None]
        assert torch.equal(linear.weight.view(torch.int32), product.view(torch.int32))
        assert parameters.input_zero_point.dtype == torch.uint8
    assert list(model.state_dict()) == list(classifier(family).state_dict())
    assert not torch.equal(answer(model), before)  # activations are in float now
    prepare_from_state(model, state)
    assert torch.equal(answer(model), before)
    model.train()
    with torch.no_grad():
        model(tokens(5) * 0 + 3)
    assert torch.equal(answer(model), before)


def test_convert_again_gives_the_same() -> None:
    model = trained()
    state = convert(model)
    weights = copy.deepcopy(model.state_dict())
    again = convert(prepare_from_state(model, state))
    for name, parameters in state.modules.items():
        assert torch.equal(parameters.weight_scale, again.modules[name].weight_scale)
        assert torch.equal(parameters.input_scale, again.modules[name].input_scale)
        assert torch.equal(parameters.input_zero_point, again.modules[name].input_zero_point)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_resumed_training_is_bit_identical() -> None:
    straight = trained(steps=6)
    first = prepare_qat(classifier("bert"))
    optimizer = torch.optim.AdamW(first.parameters(), lr=1e-3)
    train(first, optimizer, range(3))
    resumed = prepare_qat(classifier("bert", seed=1))
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    resumed_optimizer = torch.optim.AdamW(resumed.parameters(), lr=1e-3)
    resumed_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(resumed, resumed_optimizer, range(3, 6))
    expected = straight.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.state_dict().items())


def test_frozen_observers_and_eval_do_not_move() -> None:
    model = trained()

    def ranges() -> dict[str, torch.Tensor]:
        return {
            n: v.clone() for n, v in model.state_dict().items() if n.endswith(("imum", "quantizer.scale", "zero_point"))
        }

    before = ranges()
    assert before
    set_observers_frozen(model, True)
    model.train()(tokens(50))
    set_observers_frozen(model, False)
    model.eval()(tokens(51))
    assert all(torch.equal(before[name], value) for name, value in ranges().items())
    model.train()(tokens(52))
    assert any(not torch.equal(before[name], value) for name, value in ranges().items())


def test_fake_quantization_switches_off_and_on() -> None:
    model, plain = trained(), classifier("bert")
    plain.load_state_dict(model.state_dict(), strict=False)
    quantized = answer(model)
    enable_fake_quantization(model, False)
    assert torch.equal(answer(model), answer(plain))
    enable_fake_quantization(model, True)
    assert torch.equal(answer(model), quantized)


def test_observers_follow_while_switched_off() -> None:
    model = prepare_qat(classifier("bert"))
    enable_fake_quantization(model, False)
    model(tokens(0))
    state = convert(model)
    assert all(parameters.input_scale.item() != 1.0 for parameters in state.modules.values())


def test_bfloat16_autocast_trains_and_keeps_ranges_in_float32() -> None:
    model = prepare_qat(classifier("bert"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(tokens(0), labels=torch.arange(4) % 2)
        layer = model.bert.encoder.layer[0].intermediate.dense
        assert layer(torch.randn(2, 16)).dtype == torch.bfloat16
    output.loss.backward()
    assert layer.weight.grad is not None and torch.isfinite(layer.weight.grad).all()
    assert {buffer.dtype for name, buffer in model.named_buffers() if "imum" in name} == {torch.float32}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = layer.weight_quantizer(layer.weight)
    assert torch.equal(expected, layer.weight_quantizer(layer.weight))
    convert(model)


def test_inference_mode_works_also_while_observing() -> None:
    model = prepare_qat(classifier("bert"))
    with torch.inference_mode():
        model(tokens(0))
    train(model, torch.optim.AdamW(model.parameters(), lr=1e-3), range(1))
    convert(model)


def test_convert_needs_observed_ranges_and_changes_nothing_otherwise() -> None:
    model = prepare_qat(classifier("bert"))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(
        ConfigurationError, match=r"no activation range was observed for 'bert.encoder.* and \d+ more; run"
    ):
        convert(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert quantized_linears(model)


def test_convert_refuses_weights_that_cannot_hold_the_grid() -> None:
    model = trained()
    with torch.no_grad():
        model.classifier.weight[0, 0] = float("nan")
    with pytest.raises(ConfigurationError, match=r"classifier\.weight has values that are not finite"):
        convert(model)
    model = trained()
    model.classifier.to(torch.bfloat16)
    with pytest.raises(ConfigurationError, match=r"classifier.weight is torch.bfloat16, .* call model.float\(\)"):
        convert(model)


def test_wrong_use_is_a_clear_error() -> None:
    model = classifier("bert")
    for use in (convert, lambda m: set_observers_frozen(m, True), lambda m: enable_fake_quantization(m, True)):
        with pytest.raises(
            ConfigurationError, match=r"BertForSequenceClassification has no layer prepared .* prepare_qat"
        ):
            use(model)
    prepare_qat(model)
    with pytest.raises(ConfigurationError, match="is prepared for quantization already"):
        prepare_qat(model)


def test_a_linear_with_its_own_forward_is_refused() -> None:
    class Doubling(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    model = classifier("bert")
    model.classifier = Doubling(16, 2)
    with pytest.raises(ConfigurationError, match="'classifier' is a Doubling with a forward of its own"):
        prepare_qat(model)
    assert not any(isinstance(module, QATLinear) for module in model.modules())
    assert "classifier" not in quantized_linears(prepare_qat(model, QuantizationConfig(ignore=("classifier",))))


def test_a_tied_decoder_is_refused() -> None:
    model = AutoModelForMaskedLM.from_config(CONFIGS["bert"])
    with pytest.raises(ConfigurationError, match=r"'cls.predictions.decoder' shares its weight with 'bert.embeddings"):
        prepare_qat(model)
    prepare_qat(model, QuantizationConfig(ignore=("cls.predictions.decoder",)))


def test_unknown_model_type_only_matters_for_outputs() -> None:
    model = classifier("bert")
    model.config.model_type = "novel"
    with pytest.raises(ConfigurationError, match="'novel' has no table of roles"):
        prepare_qat(model)
    prepare_qat(model, QuantizationConfig(quantize_outputs=()))
    assert all(linear.output_quantizer is None for linear in quantized_linears(model).values())


def test_state_of_another_model_is_refused() -> None:
    state = convert(trained())
    with pytest.raises(CheckpointError, match=r"weight \(torch.float32\) isn't on the integer grid"):
        prepare_from_state(classifier("bert"), state)
    with pytest.raises(CheckpointError, match=r"'bert.encoder.* is no Linear of this DistilBert"):
        prepare_from_state(classifier("distilbert"), state)
    model = classifier("bert")
    model.bert.encoder.layer[0].attention.self.query = nn.Linear(16, 8)
    with pytest.raises(
        CheckpointError, match=r"query.weight_scale has shape \[16\], the model's weight \[8, 16\] needs \[8\]"
    ):
        prepare_from_state(model, state)
