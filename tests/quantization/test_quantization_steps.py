import copy

import pytest
import torch
from quantization_models import classifier, tokens
from torch import nn

from pruneofa.architectures.linears import encoder_linears
from pruneofa.checkpoint.dtypes import DTYPES_BY_NAME
from pruneofa.checkpoint.packed.entropy import entropy_bits
from pruneofa.errors import ConfigurationError
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.steps import STEPS, choose_steps, position_bits, step_costs, value_bits
from pruneofa.quantization.weights import integer_weight, weight_scale
from pruneofa.training.sections import QuantizeSection

BATCHES = [{"input_ids": tokens(seed)} for seed in range(3)]
PER_TENSOR = QuantizationConfig(weight_granularity="per_tensor")


def sparse_model() -> nn.Module:
    model = classifier("bert")
    with torch.no_grad():
        for linear in encoder_linears(model).values():
            linear.weight.mul_(linear.weight.abs() > linear.weight.abs().quantile(0.7))
    return model


def bits_of(model: nn.Module, steps: dict[str, float], config: QuantizationConfig = PER_TENSOR) -> float:
    total = kept = 0.0
    for name, linear in encoder_linears(model).items():
        grid = config.weight_grid(steps[name])
        total += value_bits(integer_weight(linear.weight, weight_scale(linear.weight, grid), grid))
        kept += int((linear.weight != 0).sum())
    return total / kept


@pytest.mark.parametrize("bits", [3.0, 4.0, 5.0])
def test_values_take_the_bits_that_were_asked(bits: float) -> None:
    model = sparse_model()
    before = copy.deepcopy(model.state_dict())
    steps = choose_steps(model, encoder_linears(model), PER_TENSOR, BATCHES, bits)
    assert set(steps) == set(encoder_linears(model)) and set(steps.values()) <= set(STEPS)
    assert bits - 0.3 < bits_of(model, steps) <= bits
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training


def test_positions_that_rounding_saves_are_counted_unless_the_pattern_is_kept() -> None:
    model = sparse_model()
    linears = encoder_linears(model)
    config = PER_TENSOR.model_copy(update={"keep_pattern": False})
    costs = step_costs(model, linears, config, BATCHES)
    steps = choose_steps(model, linears, config, (), 2.0, costs)
    taken = saved = kept = 0.0
    for name, linear in linears.items():
        grid = config.weight_grid(steps[name])
        levels = integer_weight(linear.weight, weight_scale(linear.weight, grid), grid)
        taken += value_bits(levels)
        saved += position_bits(linear.weight) - position_bits(levels)
        kept += int((linear.weight != 0).sum())
    assert saved > 0
    assert 1.5 < (taken - saved) / kept <= 2.0
    with_pattern = choose_steps(model, linears, PER_TENSOR.model_copy(update={"keep_pattern": True}), (), 2.0, costs)
    assert 1.5 < bits_of(model, with_pattern) <= 2.0


def test_a_sensitive_weight_gets_a_finer_step() -> None:
    model = sparse_model()
    sensitive, numb = (f"bert.encoder.layer.{layer}.output.dense" for layer in (1, 0))
    with torch.no_grad():
        model.get_submodule(numb).weight.mul_(1e-3)  # its rounding hardly moves the answers
    steps = choose_steps(model, encoder_linears(model), PER_TENSOR, BATCHES, 4.0)
    assert steps[numb] > 2 * steps[sensitive]


def test_costs_are_measured_once_for_several_numbers_of_bits() -> None:
    model = sparse_model()
    linears = encoder_linears(model)
    costs = step_costs(model, linears, PER_TENSOR, BATCHES)
    assert set(costs) == set(linears) and all(cost > 0 for cost in costs.values())
    for bits in (3.0, 5.0):
        again = choose_steps(model, linears, PER_TENSOR, BATCHES, bits)
        assert choose_steps(model, linears, PER_TENSOR, (), bits, costs) == again


def test_bits_out_of_reach_are_refused() -> None:
    model = sparse_model()
    with pytest.raises(ConfigurationError, match=r"value_bits is 7.9, but the values of this model take \d\.\d+ to"):
        choose_steps(model, encoder_linears(model), PER_TENSOR, BATCHES, 7.9)
    mse = QuantizationConfig(weight_scale="mse")
    with pytest.raises(ConfigurationError, match="value_bits chooses the steps, and so does weight_scale: mse"):
        choose_steps(model, encoder_linears(model), mse, BATCHES, 4.0)


def test_value_bits_are_the_entropy_that_files_are_measured_against() -> None:
    torch.manual_seed(0)
    levels = (torch.randn(40, 50) * 9).round().clamp(-127, 127).to(torch.int8)
    positions = levels.numpy() != 0
    share = positions.mean()
    of_positions = -positions.size * (
        share * torch.log2(torch.tensor(share)) + (1 - share) * torch.log2(torch.tensor(1 - share))
    )
    assert position_bits(levels) == pytest.approx(of_positions.item(), rel=1e-6)
    expected = entropy_bits(levels.numpy(), DTYPES_BY_NAME["int8"]) - of_positions.item()
    assert value_bits(levels) == pytest.approx(expected, rel=1e-4)
    assert value_bits(torch.zeros(3, 3, dtype=torch.int8)) == 0.0


def test_a_recipe_has_one_choice_of_steps() -> None:
    with pytest.raises(ConfigurationError, match=r"is 3, but quantization\.weight_scale is 'mse'"):
        QuantizeSection(quantization=QuantizationConfig(weight_scale="mse"), value_bits=3.0)
    assert QuantizeSection(value_bits=3.0).value_bits == 3.0
