import json
from pathlib import Path
from typing import Any

import pytest
import torch
from quantization_models import CONFIGS, classifier, tokens, train
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from pruneofa.architectures.linears import encoder_linears
from pruneofa.errors import CheckpointError
from pruneofa.models.loading import load_any
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.parameters import LinearParameters, QuantizedState
from pruneofa.quantization.qat import convert, prepare_qat
from pruneofa.quantization.state import (
    FILE_NAME,
    load_quantization,
    restore_pattern,
    save_quantization,
)
from pruneofa.sparsity.lock import lock_pattern

METADATA = {"format": "pruneofa-quantization", "format_version": "1", "config": QuantizationConfig().model_dump_json()}


def answer(model: nn.Module) -> Tensor:
    with torch.inference_mode():
        return model.eval()(tokens(99)).logits


@pytest.mark.parametrize("config", [QuantizationConfig(), QuantizationConfig.authors()], ids=["default", "authors"])
@pytest.mark.parametrize("family", CONFIGS)
def test_saved_and_loaded_model_gives_the_same_answers(family: str, config: QuantizationConfig, tmp_path: Path) -> None:
    model = prepare_qat(classifier(family), config)
    train(model, torch.optim.AdamW(model.parameters(), lr=1e-3), range(2))
    before = answer(model)
    state = convert(model)
    model.save_pretrained(tmp_path)
    assert save_quantization(state, tmp_path) == tmp_path / FILE_NAME
    assert torch.equal(answer(load_any(AutoModelForSequenceClassification, str(tmp_path))), before)
    plain, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert torch.equal(answer(plain), answer(model))


def test_state_round_trip(tmp_path: Path) -> None:
    state = QuantizedState(
        QuantizationConfig(ignore=("head",), freeze_observers_step=3),
        {
            "a.b": LinearParameters(torch.rand(5) + 0.1, torch.tensor([0.5]), torch.tensor([7], dtype=torch.uint8)),
            "c": LinearParameters(
                torch.rand(2) + 0.1,
                torch.tensor([0.25]),
                torch.tensor([0], dtype=torch.uint8),
                torch.tensor([2.0]),
                torch.tensor([255], dtype=torch.uint8),
            ),
        },
    )
    save_quantization(state, tmp_path / "new")
    loaded = load_quantization(tmp_path / "new")
    assert loaded.config == state.config
    assert set(loaded.modules) == {"a.b", "c"}
    for name, expected in state.modules.items():
        for field, value in vars(expected).items():
            got = getattr(loaded.modules[name], field)
            assert (got is None and value is None) or (got.dtype == value.dtype and torch.equal(got, value))
    stored = load_file(tmp_path / "new" / FILE_NAME)
    assert {key for key in stored if key.startswith("a.b.")} == {
        "a.b.weight_scale",
        "a.b.input_scale",
        "a.b.input_zero_point",
    }
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == [FILE_NAME]


def good() -> dict[str, Tensor]:
    return {
        "m.weight_scale": torch.ones(3),
        "m.input_scale": torch.ones(1),
        "m.input_zero_point": torch.zeros(1, dtype=torch.uint8),
        "m.output_scale": torch.ones(1),
        "m.output_zero_point": torch.zeros(1, dtype=torch.uint8),
    }


HOSTILE: dict[str, tuple[dict[str, Tensor | None], dict[str, str | None], str]] = {
    "unknown key": ({"m.bias_scale": torch.ones(1)}, {}, "unknown tensor 'm.bias_scale'"),
    "no module name": ({"weight_scale": torch.ones(1)}, {}, "unknown tensor 'weight_scale'"),
    "missing scale": ({"m.input_scale": None}, {}, "'m' lacks input_scale"),
    "half an output": ({"m.output_scale": None}, {}, "'m' lacks output_scale"),
    "zero scale": ({"m.input_scale": torch.zeros(1)}, {}, "m.input_scale has a value that isn't finite and positive"),
    "negative": ({"m.weight_scale": torch.tensor([1.0, -1.0])}, {}, "m.weight_scale has a value that isn't"),
    "nan": ({"m.output_scale": torch.tensor([float("nan")])}, {}, "m.output_scale has a value that isn't"),
    "infinite": ({"m.weight_scale": torch.tensor([float("inf")])}, {}, "m.weight_scale has a value that isn't"),
    "matrix": ({"m.weight_scale": torch.ones(3, 1)}, {}, r"m.weight_scale has shape \[3, 1\], expected \[n\]"),
    "empty": ({"m.weight_scale": torch.ones(0)}, {}, r"m.weight_scale has shape \[0\]"),
    "two inputs": ({"m.input_scale": torch.ones(2)}, {}, r"m.input_scale has shape \[2\], expected \[1\]"),
    "type": (
        {"m.input_zero_point": torch.zeros(1, dtype=torch.int32)},
        {},
        "m.input_zero_point has type I32, expected U8",
    ),
    "other format": ({}, {"format": "pt"}, "format is 'pt', expected 'pruneofa-quantization'"),
    "newer version": ({}, {"format_version": "3"}, "format_version is '3', this release reads '1' and '2'"),
    "no config": ({}, {"config": None}, "config in the metadata is invalid"),
    "bad config": ({}, {"config": json.dumps({"bits": 4})}, "(?s)config in the metadata is invalid.*bits"),
    "per tensor": ({}, {"config": QuantizationConfig.authors().model_dump_json()}, r"has shape \[3\], expected \[1\]"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_one_clear_error(case: str, tmp_path: Path) -> None:
    tensors, metadata, text = HOSTILE[case]
    stored: dict[str, Any] = good() | tensors
    described: dict[str, Any] = METADATA | metadata
    save_file(
        {key: value for key, value in stored.items() if value is not None},
        tmp_path / FILE_NAME,
        metadata={key: value for key, value in described.items() if value is not None},
    )
    with pytest.raises(CheckpointError, match=text):
        load_quantization(tmp_path)


def test_the_good_file_is_read(tmp_path: Path) -> None:
    save_file(good(), tmp_path / FILE_NAME, metadata=METADATA)
    assert list(load_quantization(tmp_path).modules) == ["m"]


def test_missing_truncated_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"quantization.safetensors is missing; give the folder"):
        load_quantization(tmp_path)
    save_file(good(), tmp_path / FILE_NAME, metadata=METADATA)
    whole = (tmp_path / FILE_NAME).read_bytes()
    for length in (0, 4, 20, len(whole) - 1):
        (tmp_path / FILE_NAME).write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="can't be read as safetensors"):
            load_quantization(tmp_path)
    save_file({}, tmp_path / FILE_NAME, metadata=METADATA)
    with pytest.raises(CheckpointError, match="holds no quantized module"):
        load_quantization(tmp_path)


def test_a_folder_without_the_model_is_a_clear_error(tmp_path: Path) -> None:
    save_file(good(), tmp_path / FILE_NAME, metadata=METADATA)
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        load_any(AutoModelForSequenceClassification, str(tmp_path))


def all_linears(model: nn.Module) -> dict[str, nn.Linear]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def coarse(family: str, folder: Path) -> dict[str, Tensor]:
    """A sparse model whose step is so coarse that kept weights round to 0, saved to `folder`; the pattern of each."""
    model = classifier(family)
    with torch.no_grad():
        for linear in encoder_linears(model).values():
            linear.weight[torch.rand_like(linear.weight) < 0.6] = 0
    patterns = {name: linear.weight != 0 for name, linear in all_linears(model).items()}
    prepare_qat(model, QuantizationConfig(weight_granularity="per_tensor", weight_step=30.0))
    train(model, torch.optim.SGD(model.parameters(), lr=0.0), range(1))
    state = convert(model)
    model.save_pretrained(folder)
    save_quantization(state, folder)
    assert sum(kept.numel() for p in state.modules.values() if (kept := p.weight_kept_zeros) is not None) > 100
    return patterns


@pytest.mark.parametrize("family", CONFIGS)
def test_the_pattern_of_a_model_that_was_int8_is_known_when_it_is_trained_on(family: str, tmp_path: Path) -> None:
    patterns = coarse(family, tmp_path)
    fake = load_any(AutoModelForSequenceClassification, str(tmp_path))
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert restore_pattern(plain, tmp_path) == sum(
        int((patterns[name] & (linear.weight == 0)).sum()) for name, linear in all_linears(plain).items()
    )
    for model in (fake, plain):
        lock = lock_pattern(model)
        assert set(lock.masks) == set(encoder_linears(model))  # a dense pooler has zeros now, and stays free
        for name in lock.masks:
            assert torch.equal(lock.masks[name], patterns[name])
    # Rounded once more, without training between, it is the same pattern.
    prepare_qat(plain.train(), QuantizationConfig(weight_granularity="per_tensor", weight_step=30.0))
    train(plain, torch.optim.SGD(plain.parameters(), lr=0.0), range(1))
    again = convert(plain)
    for name, linear in all_linears(plain).items():
        assert torch.equal(again.modules[name].pattern(linear.weight), patterns[name])


def test_a_pattern_is_restored_only_where_there_is_one(tmp_path: Path) -> None:
    model = classifier("bert")
    assert restore_pattern(model, tmp_path) == 0
    save_file(good(), tmp_path / FILE_NAME, metadata=METADATA)
    assert restore_pattern(model, tmp_path) == 0
    name = next(iter(encoder_linears(model)))
    kept = {f"{name}.weight_kept_zeros": torch.tensor([0, 3], dtype=torch.int32)}
    save_file(good() | kept, tmp_path / FILE_NAME, metadata=METADATA)
    with pytest.raises(CheckpointError, match="names a weight that is not 0 or not there"):
        restore_pattern(model, tmp_path)
    save_file({"another.head.weight_kept_zeros": kept[f"{name}.weight_kept_zeros"]}, tmp_path / FILE_NAME, METADATA)
    assert restore_pattern(model, tmp_path) == 0
