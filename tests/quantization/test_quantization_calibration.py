import copy

import pytest
import torch
from quantization_models import CONFIGS, classifier, tokens, train
from torch import nn

from pruneofa.architectures.linears import encoder_linears
from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.quantization.calibration import calibrate
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.qat import convert, prepare_from_state, prepare_qat, quantized_linears
from pruneofa.quantization.state import load_quantization, save_quantization
from pruneofa.quantization.summary import summarize

RANGES = ["moving_average", "minmax", "percentile", "mse"]
BATCHES = [{"input_ids": tokens(seed)} for seed in range(4)]


def answer(model: nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(tokens(99)).logits


@pytest.mark.parametrize("kind", RANGES)
@pytest.mark.parametrize("family", CONFIGS)
def test_calibrated_answers_are_near_the_float_ones(family: str, kind: str) -> None:
    config = QuantizationConfig.model_validate({"activation_range": kind})
    model = prepare_qat(classifier(family), config)
    assert calibrate(model, BATCHES) == 4
    assert all(
        q.has_grid for linear in quantized_linears(model).values() for q in linear.activation_quantizers.values()
    )
    quantized, exact = answer(model), answer(classifier(family))
    assert 0 < (quantized - exact).abs().max() < 0.15 * exact.abs().max() + 0.05
    state = convert(model)
    prepare_from_state(model, state)
    assert torch.equal(answer(model), quantized)


def test_weights_and_modes_stay_and_ranges_rest() -> None:
    model = prepare_qat(classifier("bert"))
    model.bert.pooler.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    before = copy.deepcopy(dict(model.named_parameters()))
    calibrate(model, BATCHES)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    scales = {name: linear.input_quantizer.scale.clone() for name, linear in quantized_linears(model).items()}
    model.train()(tokens(50) * 0 + 5)
    assert all(torch.equal(q.input_quantizer.scale, scales[name]) for name, q in quantized_linears(model).items())


def test_ranges_are_those_of_the_float_model() -> None:
    model, plain = prepare_qat(classifier("bert"), QuantizationConfig(activation_range="minmax")), classifier("bert")
    calibrate(model, BATCHES)
    seen: list[torch.Tensor] = []
    plain.bert.pooler.dense.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.no_grad():
        for batch in BATCHES:
            plain.eval()(**batch)
    observer = quantized_linears(model)["bert.pooler.dense"].input_quantizer.observer
    assert torch.allclose(observer.minimum, torch.cat(seen).min(), atol=1e-6)
    assert torch.allclose(observer.maximum, torch.cat(seen).max(), atol=1e-6)


def test_calibration_before_training_for_ranges_that_need_it() -> None:
    config = QuantizationConfig(activation_range="percentile", activation_percentile=99.9)
    model = prepare_qat(classifier("bert"), config)
    calibrate(model, BATCHES)
    scale = quantized_linears(model)["classifier"].input_quantizer.scale.clone()
    losses = train(model, torch.optim.AdamW(model.parameters(), lr=1e-3), range(3))
    assert all(loss == loss for loss in losses)
    assert torch.equal(quantized_linears(model)["classifier"].input_quantizer.scale, scale)


def test_a_histogram_that_nobody_froze_is_used_by_convert() -> None:
    model = prepare_qat(classifier("bert"), QuantizationConfig(activation_range="mse"))
    model.train()(tokens(0))
    state = convert(model)
    assert all(parameters.input_scale.item() != 1.0 for parameters in state.modules.values())


def test_wrong_use_is_a_clear_error() -> None:
    model = prepare_qat(classifier("bert"))
    with pytest.raises(ConfigurationError, match="calibration needs at least one batch"):
        calibrate(model, [])
    with pytest.raises(ConfigurationError, match="has no layer prepared"):
        calibrate(classifier("bert"), BATCHES)

    model.bert.unused = nn.Linear(3, 3)
    model = classifier("bert")
    model.extra = nn.Linear(3, 3)
    prepare_qat(model)
    with pytest.raises(ConfigurationError, match=r"calibration never reached 'extra.input' \(1 such\)"):
        calibrate(model, BATCHES)


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_kept_weights_that_round_to_zero_stay_in_the_pattern(granularity: str, tmp_path) -> None:
    model = classifier("bert")
    masks = {}
    with torch.no_grad():
        for name, linear in encoder_linears(model).items():
            masks[name] = torch.rand_like(linear.weight) > 0.6
            masks[name][3] = False  # an empty row
            linear.weight.mul_(masks[name])
    config = QuantizationConfig.model_validate({"weight_granularity": granularity, "weight_step": 40.0})
    prepare_qat(model, config)
    calibrate(model, BATCHES)
    state = convert(model)
    summary = summarize(state, "a test")
    assert summary["kept_weights_at_zero"] > 100
    save_quantization(state, tmp_path)
    loaded = load_quantization(tmp_path)
    for name, linear in encoder_linears(model).items():
        parameters = loaded.modules[name]
        zeros = linear.weight == 0
        assert (zeros & masks[name]).any() and (linear.weight.view(torch.int32)[zeros] == 0).all()
        assert torch.equal(parameters.pattern(linear.weight), masks[name])
        if granularity == "per_channel":
            assert parameters.weight_scale[3] == 1.0
    again = convert(prepare_from_state(model, loaded))
    for name, parameters in loaded.modules.items():
        before, after = parameters.weight_kept_zeros, again.modules[name].weight_kept_zeros
        assert (before is None and after is None) or torch.equal(before, after)


@pytest.mark.parametrize(("sparse", "settings"), [(True, {}), (True, {"keep_pattern": False}), (False, {})])
def test_the_pattern_is_kept_of_a_sparse_model_alone_and_only_where_asked(
    sparse: bool, settings: dict[str, bool]
) -> None:
    model = classifier("bert")
    if sparse:
        with torch.no_grad():
            model.bert.pooler.dense.weight[:, ::2] = 0.0
    prepare_qat(model, QuantizationConfig.model_validate({"weight_bits": 3, **settings}))
    calibrate(model, BATCHES)
    modules = convert(model).modules
    listing = {name for name, p in modules.items() if p.weight_kept_zeros is not None}
    rounded = {name for name in modules if bool((model.get_submodule(name).weight == 0).any())}
    assert {"classifier", "bert.pooler.dense"} <= rounded
    # A dense weight's too: what is 0 in it could not be told from what was pruned.
    assert listing == (rounded if sparse and not settings else set())


def test_kept_zeros_of_another_model_are_refused() -> None:
    model = classifier("bert")
    with torch.no_grad():
        model.classifier.weight[0, 0] = 0.0
    prepare_qat(model, QuantizationConfig(weight_granularity="per_tensor", weight_step=60.0))
    calibrate(model, BATCHES)
    state = convert(model)
    kept = state.modules["classifier"].weight_kept_zeros
    assert kept is not None
    kept[-1] = 10_000
    with pytest.raises(
        CheckpointError, match=r"classifier\.weight_kept_zeros names a weight that is not 0 or not there"
    ):
        prepare_from_state(model, state)


def test_steps_of_single_modules() -> None:
    config = QuantizationConfig(
        weight_granularity="per_tensor", weight_step=2.0, weight_steps={"*.layer.0.*": 8.0, "*.query": 4.0}
    )
    model = prepare_qat(classifier("bert"), config)
    steps = {name: linear.weight_quantizer.grid.step for name, linear in quantized_linears(model).items()}
    assert steps["bert.encoder.layer.0.attention.self.query"] == 8.0  # the first pattern that fits
    assert steps["bert.encoder.layer.1.attention.self.query"] == 4.0
    assert steps["bert.encoder.layer.1.attention.self.key"] == steps["classifier"] == 2.0
    calibrate(model, BATCHES)
    state = convert(model)
    levels = (
        model.bert.encoder.layer[0].attention.self.query.weight
        / state.modules["bert.encoder.layer.0.attention.self.query"].weight_scale
    )
    assert levels.round().abs().max() == 16
    with pytest.raises(ConfigurationError, match=r"weight_steps: pattern '\*.quer' matches no module; nearest"):
        prepare_qat(classifier("bert"), QuantizationConfig(weight_steps={"*.quer": 2.0}))


def test_summary_says_what_was_done() -> None:
    config = QuantizationConfig(
        weight_bits=5, activation_range="percentile", embeddings="per_row", attention_products=True, weight_step=1.5
    )
    model = prepare_qat(classifier("bert"), config)
    calibrate(model, BATCHES)
    summary = summarize(convert(model), "calibration on 16 texts")
    assert summary["linears"] == 14 and summary["embedding_tables"] == 3 and summary["attention_products"] is True
    assert summary["outputs"] == 2 * 4 + 1
    assert summary["text"] == (
        "calibration on 16 texts; weights on -15...15, one scale per row, step 1.5 x absmax/15; activations uint8, "
        "affine, range by percentile 99.99; embeddings in 8 bits, one scale per row; attention products in int8; 14 "
        "Linear layers, 3 embedding tables"
    )
