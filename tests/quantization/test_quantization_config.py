import pytest

from pruneofa.errors import ConfigurationError
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.grid import WeightGrid, weight_levels


def test_defaults_are_per_channel_127() -> None:
    config = QuantizationConfig()
    assert config.weight_grid() == WeightGrid(per_row=True, lowest=-127, highest=127, divisor=127.0)
    assert config.quantize_outputs == ("q", "k", "ffn_in", "pooler")
    assert config.activation_averaging_constant == 0.01
    assert config.freeze_observers_step is None


def test_authors_scheme() -> None:
    config = QuantizationConfig.authors()
    assert config.weight_grid() == WeightGrid(per_row=False, lowest=-128, highest=127, divisor=127.5)
    assert config.quantize_outputs == ("q", "k", "ffn_in", "pooler")


def test_round_trip_through_json() -> None:
    config = QuantizationConfig(
        ignore=("cls.*",), freeze_observers_step=5, quantize_outputs=(), weight_steps={"*.query": 2.5}, weight_bits=5
    )
    assert QuantizationConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"quantize_outputs": ["q", "query"]}, "quantize_outputs.1"),
        ({"weight_range": "symmetric_128"}, "'symmetric_127' or 'symmetric_127.5'"),
        ({"activation_averaging_constant": 0.0}, "greater than 0"),
        ({"targets": []}, "at least 1 item"),
        ({"targets": [""]}, "a pattern must not be empty"),
        ({"ignore": ["re:("]}, "'re:\\(' is not a regular expression"),
        ({"freeze_observers_step": 0}, "greater than or equal to 1"),
        ({"bits": 8}, "unknown key"),
        ({"weight_bits": 9}, "less than or equal to 8"),
        ({"weight_bits": 1}, "greater than or equal to 2"),
        ({"weight_step": 0.5}, "greater than or equal to 1"),
        (
            {"weight_scale": "mse", "weight_step": 2.0},
            "is 2.0, but weight_scale is 'mse', which chooses the step itself",
        ),
        ({"weight_scale": "mse", "weight_steps": {"*": 2.0}}, "weight_scale is 'mse', which chooses the step itself"),
        ({"weight_steps": {"*": 0.0}}, "weight_steps"),
        ({"weight_steps": {"re:(": 2.0}}, "'re:\\(' is not a regular expression"),
        ({"embeddings": "per_channel"}, "'float', 'per_row' or 'per_tensor'"),
        ({"activation_range": "max"}, "'moving_average', 'minmax', 'percentile' or 'mse'"),
        ({"activation_percentile": 50.0}, "greater than 50"),
    ],
)
def test_a_wrong_value_is_named(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        QuantizationConfig.model_validate(settings)


@pytest.mark.parametrize(
    ("bits", "full_range", "expected"),
    [(8, False, (-127, 127, 127.0)), (8, True, (-128, 127, 127.5)), (4, False, (-7, 7, 7.0)), (2, True, (-2, 1, 1.5))],
)
def test_levels_by_bits(bits: int, full_range: bool, expected: tuple[int, int, float]) -> None:
    assert weight_levels(bits, full_range) == expected


def test_grids_of_weights_and_embeddings() -> None:
    config = QuantizationConfig(weight_bits=4, weight_step=1.5, embeddings="per_row", embedding_bits=6)
    assert config.weight_grid() == WeightGrid(True, -7, 7, 7.0, step=1.5)
    assert config.weight_grid(3.0).step == 3.0
    assert config.embedding_grid() == WeightGrid(True, -31, 31, 31.0)
    assert not QuantizationConfig(embeddings="per_tensor").embedding_grid().per_row


def test_attention_products_quantize_the_outputs_of_q_k_and_v() -> None:
    assert QuantizationConfig(attention_products=True).output_roles == ("q", "k", "v", "ffn_in", "pooler")
    assert QuantizationConfig(attention_products=True, quantize_outputs=()).output_roles == ("q", "k", "v")


def test_which_ranges_are_calibrated_before_training() -> None:
    ranges = ("moving_average", "minmax", "percentile", "mse")
    assert [QuantizationConfig(activation_range=name).needs_calibration for name in ranges] == [
        False,
        False,
        True,
        True,
    ]
