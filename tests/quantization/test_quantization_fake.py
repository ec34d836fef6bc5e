import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pruneofa.quantization.activations import ActivationQuantizer
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.fake import fake_quantize, straight_through_round
from pruneofa.quantization.grid import WeightGrid
from pruneofa.quantization.weights import WeightQuantizer, fake_quantize_weight, integer_weight, weight_scale

SCHEMES = {
    "default": QuantizationConfig().weight_grid(),
    "authors": QuantizationConfig.authors().weight_grid(),
    "per_channel_127.5": QuantizationConfig(weight_range="symmetric_127.5").weight_grid(),
    "per_tensor_127": QuantizationConfig(weight_granularity="per_tensor").weight_grid(),
    "4_bits": QuantizationConfig(weight_bits=4).weight_grid(),
    "coarse_step": QuantizationConfig(weight_granularity="per_tensor", weight_step=7.0).weight_grid(),
    "mse": QuantizationConfig(weight_scale="mse", weight_bits=3).weight_grid(),
    "mse_per_tensor": QuantizationConfig(weight_scale="mse", weight_granularity="per_tensor").weight_grid(),
}
GRID = QuantizationConfig().weight_grid()


def reference(
    values: np.ndarray, scale: np.float32, zero_point: int, lowest: int, highest: int
) -> tuple[np.ndarray, np.ndarray]:
    """The formula, one number at a time: integer levels and values."""
    levels = np.empty(values.shape, dtype=np.int64)
    for index, value in np.ndenumerate(values):
        quotient = float(np.float32(value) * (np.float32(1) / scale))
        levels[index] = min(max(round(quotient) + zero_point, lowest), highest)  # Python rounds halves to even
    return levels, (levels - zero_point).astype(np.float32) * scale


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    return torch.equal(left.view(torch.int32), right.view(torch.int32))


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=30, deadline=None)
@given(
    values=hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.floats(-100, 100, width=32)
    )
)
def test_weights_match_the_integer_reference(scheme: str, values: np.ndarray) -> None:
    grid = SCHEMES[scheme]
    weight = torch.from_numpy(values.copy())
    scale = weight_scale(weight, grid)
    levels = integer_weight(weight, scale, grid)
    result = fake_quantize_weight(weight, scale, grid)
    scales = scale.expand(len(values)).numpy()
    for row in range(len(values)):
        expected_levels, expected = reference(values[row], scales[row], 0, grid.lowest, grid.highest)
        assert np.array_equal(levels[row].numpy(), expected_levels)
        assert np.array_equal(result[row].numpy().view(np.int32), expected.view(np.int32))
    assert same_bits(result, levels.float() * scale[:, None])
    assert torch.equal(integer_weight(result, scale, grid), levels)
    assert same_bits(fake_quantize_weight(result, scale, grid), result)


@settings(max_examples=50, deadline=None)
@given(
    values=hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=4), elements=st.floats(-1e4, 1e4, width=32)),
    scale=st.floats(2.0**-20, 100, width=32),
    zero_point=st.integers(0, 255),
)
def test_activations_match_the_integer_reference(values: np.ndarray, scale: float, zero_point: int) -> None:
    pair = torch.tensor([scale], dtype=torch.float32), torch.tensor([zero_point], dtype=torch.int32)
    _, expected = reference(values, np.float32(scale), zero_point, 0, 255)
    assert np.array_equal(fake_quantize(torch.from_numpy(values.copy()), *pair, 0, 255).numpy(), expected)


@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("levels", [(-127, 127), (-128, 127), (0, 255)])
def test_value_and_gradient_equal_torchs_operator(levels: tuple[int, int], rows: int) -> None:
    torch.manual_seed(0)
    values = (torch.randn(rows, 64) * 150).round() / 2  # many exact halves at scale 1
    scale = torch.ones(rows) if rows == 1 else torch.linspace(0.25, 2, rows)
    zero_point = torch.full((rows,), 3 if levels[0] == 0 else 0, dtype=torch.int32)
    upstream = torch.randn(rows, 64)
    ours, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    got = fake_quantize(ours, scale, zero_point, *levels)
    expected = torch.fake_quantize_per_channel_affine(theirs, scale, zero_point, 0, *levels)
    assert same_bits(got, expected)
    got.backward(upstream)
    expected.backward(upstream)
    assert torch.equal(ours.grad, theirs.grad)
    assert (ours.grad == 0).any() and (ours.grad != 0).any()


def test_halves_go_to_the_even_level() -> None:
    values = torch.tensor([[0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 127.0]])
    assert integer_weight(values, torch.ones(1), GRID).tolist() == [[0, 2, 2, 0, -2, -2, 127]]


def test_straight_through_gradient() -> None:
    weight = torch.tensor([[0.3, -4.0, 2.0, 0.0]], requires_grad=True)
    fake_quantize_weight(weight, torch.tensor([2.0 / 127]), GRID).sum().backward()
    assert weight.grad.tolist() == [[1.0, 0.0, 1.0, 1.0]]


def test_authors_numbers() -> None:
    grid = QuantizationConfig.authors().weight_grid()
    weight = torch.tensor([[-2.55, 1.0], [2.54, 0.0]])
    scale = weight_scale(weight, grid)
    assert scale.tolist() == [pytest.approx(2.55 / 127.5)]
    assert integer_weight(weight, scale, grid).tolist() == [[-128, 50], [127, 0]]
    from torch.ao.quantization import MinMaxObserver

    observer = MinMaxObserver(dtype=torch.qint8, qscheme=torch.per_tensor_symmetric)
    observer(weight)
    assert torch.equal(scale, observer.calculate_qparams()[0])


def test_per_channel_numbers() -> None:
    weight = torch.tensor([[-2.54, 1.27], [0.0, 0.0], [0.127, 0.0]])
    scale = weight_scale(weight, GRID)
    assert scale.tolist() == pytest.approx([0.02, 1.0, 0.001])
    assert integer_weight(weight, scale, GRID)[:2].tolist() == [[-127, 64], [0, 0]]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_zeros_come_out_as_plus_zero(scheme: str) -> None:
    weight = torch.tensor([[0.0, -0.0, 1e-9, -1e-9, 1.0], [0.0, -0.0, 0.0, 0.0, -0.0]])
    result = WeightQuantizer(SCHEMES[scheme])(weight)
    assert result.view(torch.int32)[0, :4].tolist() == [0, 0, 0, 0]
    assert result.view(torch.int32)[1].tolist() == [0] * 5


def test_tiny_weights_do_not_divide_by_zero() -> None:
    weight = torch.full((2, 3), 1e-40)
    assert weight_scale(weight, GRID).tolist() == [1.0, 1.0]
    assert WeightQuantizer(GRID)(weight).eq(0).all()


def test_a_fixed_scale_is_used_and_stored() -> None:
    quantizer = WeightQuantizer(GRID)
    assert quantizer.state_dict() == {}
    quantizer.fix_scale(torch.tensor([0.5]))
    assert quantizer(torch.tensor([[0.7, 1.3]])).tolist() == [[0.5, 1.5]]
    assert list(quantizer.state_dict()) == ["scale"]


def test_activations_pass_until_observed_and_stand_still_in_eval() -> None:
    quantizer = ActivationQuantizer(QuantizationConfig())
    values = torch.tensor([0.1, -0.7, 1.234])
    assert quantizer.eval()(values) is values
    quantizer.train()(torch.tensor([-1.0, 1.0]))
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    assert not torch.equal(quantizer.eval()(values * 50), values * 50)
    assert all(torch.equal(before[name], value) for name, value in quantizer.state_dict().items())


def test_a_fixed_pair_is_kept_bit_for_bit() -> None:
    quantizer = ActivationQuantizer(QuantizationConfig())
    scale, zero_point = torch.tensor([0.0371]), torch.tensor([77], dtype=torch.uint8)
    quantizer.fix_parameters(scale, zero_point)
    quantizer.train()(torch.tensor([-100.0, 100.0]))
    assert torch.equal(quantizer.scale, scale) and quantizer.zero_point.item() == 77
    assert quantizer.observer.minimum.item() == pytest.approx(-77 * 0.0371)


def test_two_passes_before_one_backward() -> None:
    quantizer = ActivationQuantizer(QuantizationConfig()).train()
    values = torch.linspace(-1, 1, 5, requires_grad=True)
    (quantizer(values) + quantizer(values * 2)).sum().backward()
    assert torch.isfinite(values.grad).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("rows", [1, 8])
def test_the_gpu_gives_the_same_values(rows: int) -> None:
    torch.manual_seed(0)
    values, scale = torch.randn(rows, 256), torch.rand(rows) * 0.05 + 0.001
    zero_point = torch.zeros(rows, dtype=torch.int32)
    expected = fake_quantize(values, scale, zero_point, -127, 127)
    assert same_bits(fake_quantize(values.cuda(), scale.cuda(), zero_point.cuda(), -127, 127).cpu(), expected)


def test_a_coarser_step_uses_fewer_levels() -> None:
    torch.manual_seed(0)
    weight = torch.randn(16, 32)
    grid = QuantizationConfig(weight_granularity="per_tensor", weight_step=8.0).weight_grid()
    scale = weight_scale(weight, grid)
    assert scale.item() == pytest.approx(8 * weight.abs().max().item() / 127)
    assert integer_weight(weight, scale, grid).abs().max() == 16  # 127 / 8 = 15.9


@pytest.mark.parametrize("per_row", [True, False])
def test_the_least_squares_scale_is_no_worse_than_any_share_of_absmax(per_row: bool) -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 64)
    weight[2, 3], weight[4] = 40.0, 0.0
    fine = WeightGrid(per_row, -7, 7, 7.0)
    chosen = weight_scale(weight, WeightGrid(per_row, -7, 7, 7.0, least_squares=True))
    whole = weight_scale(weight, fine)

    def errors(scale: torch.Tensor) -> torch.Tensor:
        squares = (fake_quantize_weight(weight, scale, fine) - weight).square().sum(1)
        return squares if per_row else squares.sum().reshape(1)

    for share in torch.linspace(0.2, 1.0, 81):
        assert (errors(chosen) <= errors(whole * share) * (1 + 1e-6)).all()
    assert (errors(chosen) < errors(whole)).any()
    if per_row:
        assert chosen[4] == 1.0


def test_rounding_passes_the_gradient_and_is_exact() -> None:
    values = torch.tensor([0.5, 1.5, -2.5, 7.25, 1e7 + 1, -0.2], requires_grad=True)
    rounded = straight_through_round(values)
    assert torch.equal(rounded, values.detach().round())
    rounded.sum().backward()
    assert values.grad.eq(1).all()
