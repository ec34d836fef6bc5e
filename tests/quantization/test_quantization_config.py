import pytest
from pydantic import ValidationError

from pruneofa.quantization.config import QuantizationConfig


def test_defaults_are_per_channel_127() -> None:
    config = QuantizationConfig()
    assert (config.weight_granularity, config.weight_levels, config.weight_divisor) == (
        "per_channel",
        (-127, 127),
        127.0,
    )
    assert config.quantize_outputs == ("q", "k", "ffn_in", "pooler")
    assert config.activation_averaging_constant == 0.01
    assert config.freeze_observers_step is None


def test_authors_scheme() -> None:
    config = QuantizationConfig.authors()
    assert (config.weight_granularity, config.weight_levels, config.weight_divisor) == (
        "per_tensor",
        (-128, 127),
        127.5,
    )
    assert config.quantize_outputs == ("q", "k", "ffn_in", "pooler")


def test_round_trip_through_json() -> None:
    config = QuantizationConfig(ignore=("cls.*",), freeze_observers_step=5, quantize_outputs=())
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
        ({"bits": 8}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_value_is_named(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        QuantizationConfig.model_validate(settings)
