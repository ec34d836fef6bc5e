"""The fake-quantized modules against the scalar reference, within the bound of docs/quantization.md."""

import math
from typing import Any

import numpy as np
import pytest
import quantization_reference as reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quantization_models import CONFIGS, classifier, tokens
from torch import nn

from pruneofa.quantization.activations import ActivationQuantizer
from pruneofa.quantization.attention import AttentionProducts, attention_modules, attention_products
from pruneofa.quantization.calibration import calibrate
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.linear import QATLinear
from pruneofa.quantization.qat import convert, prepare_from_state, prepare_qat, quantized_linears

UNIT = 2.0**-24
SCHEMES = {
    "default": QuantizationConfig(),
    "authors": QuantizationConfig.authors(),
    "5_bits": QuantizationConfig(weight_bits=5, weight_granularity="per_tensor"),
    "coarse": QuantizationConfig(weight_granularity="per_tensor", weight_step=9.0),
}


def growth(operations: int) -> float:
    """g(k) of the documentation: the relative error of k roundings."""
    return operations * UNIT / (1 - operations * UNIT)


def quantizer_of(values: torch.Tensor) -> ActivationQuantizer:
    quantizer = ActivationQuantizer(QuantizationConfig()).train()
    quantizer(values)
    return quantizer.eval()


def compare_linear(linear: QATLinear, inputs: torch.Tensor, got: torch.Tensor) -> float:
    """Hold one Linear to the reference; returns the largest difference as a share of the bound."""
    weight = linear.weight.detach()
    scale = linear.weight_quantizer.scale_of(weight)
    levels = reference.weight_integers(linear.weight_quantizer(weight).detach().numpy(), scale.numpy())
    assert levels.min(initial=0) >= linear.weight_quantizer.grid.lowest
    assert levels.max(initial=0) <= linear.weight_quantizer.grid.highest
    input_scale, input_zero = linear.input_quantizer.scale.item(), linear.input_quantizer.zero_point.item()
    bias = None if linear.bias is None else linear.bias.detach().numpy()
    expected = reference.quantized_linear(inputs.numpy(), levels, bias, scale.numpy(), input_scale, input_zero)
    centred = np.abs(reference.activation_levels(inputs.numpy(), input_scale, input_zero) - input_zero)
    size = input_scale * scale.numpy().astype(np.float64) * (centred @ np.abs(levels).T)
    size = size + (0.0 if bias is None else np.abs(bias))
    bound = (growth(inputs.shape[-1] + 3) + growth(4)) * size
    output = linear.output_quantizer
    if output is None:
        difference = np.abs(got.numpy().astype(np.float64) - expected)
        assert (difference <= bound).all()
        return float((difference / np.maximum(bound, 1e-300)).max())
    step, zero = output.scale.item(), output.zero_point.item()
    expected_levels = reference.activation_levels(expected, step, zero)
    got_levels = np.rint(got.numpy() / np.float32(step)).astype(int) + zero
    # A level differs only where the value before it lies within the bound of a tie.
    from_tie = np.abs(np.abs(expected / step - np.floor(expected / step)) - 0.5) * step
    differing = got_levels != expected_levels
    assert (np.abs(got_levels - expected_levels) <= 1).all()
    assert (from_tie[differing] <= bound[differing] + 4 * UNIT * np.abs(expected[differing])).all()
    return float(differing.mean())


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_linear_is_the_integer_linear_within_the_bound(scheme: str, data: st.DataObject) -> None:
    seed, rows, columns = data.draw(st.integers(0, 10_000)), data.draw(st.integers(1, 9)), data.draw(st.integers(1, 70))
    size, with_output = data.draw(st.sampled_from([1e-3, 1.0, 50.0])), data.draw(st.booleans())
    torch.manual_seed(seed)
    linear = nn.Linear(columns, rows, bias=data.draw(st.booleans()))
    with torch.no_grad():
        linear.weight.mul_(torch.rand_like(linear.weight) < data.draw(st.sampled_from([0.0, 0.15, 1.0]))).mul_(size)
    layer = QATLinear.adopt(linear, SCHEMES[scheme], with_output)
    with torch.no_grad():
        layer.train()(torch.randn(20, columns) * size + size / 2)
        inputs = torch.randn(6, columns) * 1.2 * size
        compare_linear(layer, inputs, layer.eval()(inputs))


def test_a_wide_linear_stays_within_the_bound() -> None:
    torch.manual_seed(0)
    layer = QATLinear.adopt(nn.Linear(3072, 12), QuantizationConfig(), quantize_output=False)
    with torch.no_grad():
        layer.train()(torch.randn(20, 3072).abs())
        inputs = torch.randn(50, 3072).abs()
        share = compare_linear(layer, inputs, layer.eval()(inputs))
    assert 0 < share < 1


def attention_case(
    seed: int, heads: int, queries: int, keys: int, size: int, spread: float
) -> tuple[AttentionProducts, list[torch.Tensor]]:
    torch.manual_seed(seed)
    shapes = ((queries, size), (keys, size), (keys, size))
    tensors = [torch.randn(2, heads, *shape) * spread + 0.1 for shape in shapes]
    return AttentionProducts(*(quantizer_of(tensor) for tensor in tensors)), tensors


def compare_attention(
    products: AttentionProducts, tensors: list[torch.Tensor], addends: tuple[torch.Tensor | None, ...]
) -> int:
    """Hold one attention to the reference; returns at how many keys the weight is another one."""
    context, weights = attention_products(products, *tensors, addends)
    grids = (products.query, products.key, products.value)
    pairs = [(grid.scale.item(), grid.zero_point.item()) for grid in grids]
    q, k, v = (
        reference.activation_levels(tensor.numpy(), *pair) - pair[1]
        for tensor, pair in zip(tensors, pairs, strict=True)
    )
    as_arrays = tuple(None if addend is None else addend.numpy() for addend in addends)
    expected, integers = reference.attention_products(q, k, v, *(scale for scale, _ in pairs), as_arrays)
    total = integers.sum(-1, keepdims=True)
    got = np.rint(weights.numpy().astype(np.float64) * total)
    # exp may be off by a few units in the last place, so 255 exp may round the other way where it lies near a tie.
    flips = (np.abs(weights.numpy() * total - integers) > 0.5).sum(-1, keepdims=True)
    assert np.abs(got - integers).max() <= 1 + 255 * flips.max()
    value = v * pairs[2][0]
    spread = value.max(-2, keepdims=True) - value.min(-2, keepdims=True)
    changed = (np.abs(weights.numpy() - integers / total) > 4 * UNIT).sum(-1, keepdims=True)
    bound = changed * spread / (total - changed) + growth(4) * np.abs(value).max(-2, keepdims=True)
    assert (np.abs(context.numpy() - expected) <= bound).all()
    return int(changed.sum())


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    keys=st.integers(1, 40),
    queries=st.integers(1, 5),
    size=st.integers(1, 70),
    spread=st.sampled_from([0.01, 1.0, 4.0]),
    padded=st.booleans(),
)
def test_attention_products_are_the_integer_ones(
    seed: int, keys: int, queries: int, size: int, spread: float, padded: bool
) -> None:
    products, tensors = attention_case(seed, 2, queries, keys, size, spread)
    mask = torch.zeros(2, 1, 1, keys)
    if padded:
        mask[1, ..., (keys + 1) // 2 :] = torch.finfo(torch.float32).min
    bias = torch.randn(1, 2, queries, keys)
    compare_attention(products, tensors, (bias, mask))


@pytest.mark.parametrize(("keys", "size"), [(258, 64), (259, 64), (600, 16), (5, 300)])
def test_long_sums_stay_exact(keys: int, size: int) -> None:
    products, tensors = attention_case(0, 1, 3, keys, size, 1.0)
    assert compare_attention(products, tensors, (None,)) == 0


def test_padded_keys_count_nothing() -> None:
    products, (q, k, v) = attention_case(3, 2, 4, 9, 8, 1.0)
    mask = torch.zeros(2, 1, 1, 9)
    mask[..., 6:] = torch.finfo(torch.float32).min
    masked, _ = attention_products(products, q, k, v, (mask,))
    short, _ = attention_products(products, q, k[..., :6, :], v[..., :6, :], (None,))
    assert torch.equal(masked, short)


def test_attention_products_approach_softmax_attention_and_pass_gradients() -> None:
    products, tensors = attention_case(1, 2, 5, 7, 16, 0.7)
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    plain = [tensor.clone().requires_grad_() for tensor in tensors]
    context, _ = attention_products(products, *leaves, (None,))
    exact = nn.functional.scaled_dot_product_attention(*plain)
    assert 0 < (context - exact).abs().max() < 0.05
    upstream = torch.randn_like(context)
    context.backward(upstream)
    exact.backward(upstream)
    for ours, theirs in zip(leaves, plain, strict=True):
        cosine = nn.functional.cosine_similarity(ours.grad.reshape(1, -1), theirs.grad.reshape(1, -1))
        assert cosine > 0.99


def test_gelu_table_is_what_the_modules_compute() -> None:
    grid, following = quantizer_of(torch.tensor([-2.0, 3.1])), quantizer_of(torch.tensor([-0.17, 3.1]))
    pairs = [value for q in (grid, following) for value in (q.scale.item(), q.zero_point.item())]
    table = reference.gelu_table(*pairs)
    levels = torch.arange(256)
    values = (levels - grid.zero_point).float() * grid.scale
    rounded = following(nn.functional.gelu(values))
    got = (rounded / following.scale).round().int() + following.zero_point
    assert table.dtype == np.uint8 and np.abs(got.numpy() - table.astype(int)).max() <= 1
    assert (got.numpy() != table).mean() < 0.02


def test_reference_numbers() -> None:
    assert reference.activation_levels(np.float32([0.25, 0.75, -9.0, 200.0]), 0.5, 3).tolist() == [3, 5, 0, 255]
    outputs = reference.quantized_linear(
        np.float32([[1.0, -0.5]]), np.array([[2, 0], [-3, 127]]), np.float32([0.5, 0.0]), np.float32([0.25]), 0.5, 10
    )
    assert outputs.tolist() == [[0.5 * 0.25 * 4 + 0.5, 0.5 * 0.25 * (-6 - 127)]]
    table = reference.lookup(np.array([[1, -2], [3, 4]]), np.float32([0.5, 2.0]), np.array([1, 0]))
    assert table.tolist() == [[6.0, 8.0], [0.5, -1.0]]
    context, weights = reference.attention_products(
        np.array([[1]]), np.array([[1], [1], [-600]]), np.array([[10], [20], [99]]), 1.0, 1.0, 0.5
    )
    assert weights.tolist() == [[255, 255, 0]] and context.tolist() == [[pytest.approx(7.5)]]
    assert reference.gelu_table(0.1, 0, 0.1, 7)[[0, 255]].tolist() == [7, 255]
    assert math.isclose(reference.values_of(np.array([12]), 0.5, 10)[0], 1.0)


def capture(model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Input and output of every prepared Linear in one forward pass."""
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    handles = [
        linear.register_forward_hook(
            lambda _, inputs, output, name=name: seen.__setitem__(name, (inputs[0].clone(), output.clone()))
        )
        for name, linear in quantized_linears(model).items()
    ]
    with torch.no_grad():
        model.eval()(**batch)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("products", [False, True])
@pytest.mark.parametrize("family", CONFIGS)
def test_every_layer_of_a_model_is_the_integer_one(family: str, products: bool) -> None:
    config = QuantizationConfig(attention_products=products, embeddings="per_row")
    model = prepare_qat(classifier(family), config)
    calibrate(model, [{"input_ids": tokens(seed)} for seed in range(3)])
    prepare_from_state(model, convert(model))
    mask = torch.ones(4, 9, dtype=torch.int64)
    mask[2, 6:] = 0
    batch: dict[str, Any] = {"input_ids": tokens(77), "attention_mask": mask}
    seen = capture(model, batch)
    linears = quantized_linears(model)
    assert set(seen) == set(linears)
    for name, (inputs, output) in seen.items():
        compare_linear(linears[name], inputs, output)
    assert len(attention_modules(model)) == (2 if products else 0)
