"""What is saved is what was computed: zeros that were promised, and the int8 grids of a converted model."""

import copy
import logging

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from pruneofa.architectures.linears import encoder_linears
from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.models.compressed import load_compressed, save_compressed
from pruneofa.models.saving import save_model
from pruneofa.quantization.calibration import calibrate
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.linear import QATLinear
from pruneofa.quantization.qat import convert, prepare_qat
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.sparsity.lock import lock_pattern
from pruneofa.sparsity.pruner import Pruner

BATCH = {"input_ids": torch.arange(5, 25).reshape(2, 10)}


def classifier(seed: int = 0):
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=40, max_position_embeddings=16, **sizes)
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8.0)
    return model


def sparse():
    model = classifier()
    Pruner(model, SparsityConfig(target_sparsity=0.75, end_step=0)).attach(torch.optim.SGD(model.parameters(), lr=0.1))
    return copy.deepcopy(model)


def logits(model):
    with torch.inference_mode():
        return model.eval()(**BATCH).logits


def encoder_sparsity(path) -> float:
    return inspect_model(path).as_dict()["encoder_sparsity"]


def prepared(**settings):
    model = prepare_qat(sparse(), QuantizationConfig.model_validate(settings))
    calibrate(model, [BATCH])
    return model


@pytest.mark.parametrize("folder", [True, False])
def test_zeros_that_were_overwritten_are_put_back_when_the_model_is_saved(folder, tmp_path, caplog):
    model = sparse()
    lock_pattern(model)
    model.load_state_dict(classifier(seed=1).state_dict())
    with caplog.at_level(logging.WARNING):
        if folder:
            save_model(model, None, tmp_path / "m", stage="test")
        else:
            save_compressed(model, tmp_path / "m.pofa")
    path = tmp_path / "m" if folder else tmp_path / "m.pofa"
    assert encoder_sparsity(path) == pytest.approx(0.75)
    assert len(caplog.messages) == 1
    assert "They are zero again" in caplog.messages[0]
    before = logits(model)
    loaded = AutoModelForSequenceClassification.from_pretrained(path) if folder else load_compressed(path)
    assert torch.equal(logits(loaded), before)


def test_a_dense_model_is_saved_without_a_word(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="pruneofa"):
        save_compressed(classifier(), tmp_path / "m.pofa")
    assert not caplog.messages
    assert encoder_sparsity(tmp_path / "m.pofa") == 0.0


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("form", ["bitmask", "packed"])
@pytest.mark.parametrize("settings", [{}, {"embeddings": "per_row", "attention_products": True}, {"weight_bits": 4}])
def test_a_converted_model_is_saved_in_int8(settings, form, given, tmp_path):
    model = prepared(**settings)
    before = logits(model)
    state = convert(model)
    summary = save_compressed(model, tmp_path / "m.pofa", form=form, **({"quantization": state} if given else {}))
    assert not summary.off_grid
    assert summary.bitmask_int8 + summary.packed_int8 + summary.dense_int8 >= len(encoder_linears(model))
    assert torch.equal(logits(load_compressed(tmp_path / "m.pofa")), before)


def test_a_prepared_model_is_saved_as_it_would_be_converted(tmp_path):
    model = prepared(attention_products=True)
    before = logits(model)
    save_compressed(model, tmp_path / "m.pofa")
    assert isinstance(model.classifier, QATLinear)
    assert torch.equal(logits(model), before)
    loaded = load_compressed(tmp_path / "m.pofa")
    assert torch.equal(logits(loaded), before)
    save_compressed(loaded, tmp_path / "again.pofa")
    assert torch.equal(logits(load_compressed(tmp_path / "again.pofa")), before)


def test_a_prepared_model_that_is_not_ready_is_refused_and_nothing_written(tmp_path):
    model = prepare_qat(sparse())
    with pytest.raises(ConfigurationError, match="no activation range was observed"):
        save_compressed(model, tmp_path / "m.pofa")
    with pytest.raises(ConfigurationError, match=r"quantization is given, but .* convert\(model\)"):
        save_compressed(model, tmp_path / "m.pofa", quantization=None)
    assert list(tmp_path.iterdir()) == []


def test_a_converted_model_that_was_trained_on_is_refused_or_saved_as_float(tmp_path):
    model = prepared()
    state = convert(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(**BATCH, labels=torch.tensor([0, 1])).loss.backward()
    optimizer.step()
    with pytest.raises(ConfigurationError, match=r"converted to int8, but it has changed since: .*quantization=None"):
        save_compressed(model, tmp_path / "m.pofa")
    with pytest.raises(CheckpointError, match="isn't on the integer grid"):
        save_compressed(model, tmp_path / "m.pofa", quantization=state)
    assert list(tmp_path.iterdir()) == []
    summary = save_compressed(model, tmp_path / "m.pofa", quantization=None)
    assert summary.dense_int8 + summary.bitmask_int8 == 0
    assert torch.equal(logits(load_compressed(tmp_path / "m.pofa")), logits(model))


def test_a_state_of_another_model_is_refused(tmp_path):
    state = convert(prepared())
    with pytest.raises(CheckpointError, match="isn't on the integer grid"):
        save_compressed(classifier(seed=1), tmp_path / "m.pofa", quantization=state)


def test_a_model_prepared_anew_forgets_what_it_was_converted_to(tmp_path):
    model = prepared()
    convert(model)
    prepare_qat(model, QuantizationConfig(weight_bits=4))
    calibrate(model, [BATCH])
    before = logits(model)
    convert(model)
    save_compressed(model, tmp_path / "m.pofa")
    assert torch.equal(logits(load_compressed(tmp_path / "m.pofa")), before)


def test_a_copy_of_a_converted_model_is_saved_in_int8_too(tmp_path):
    model = prepared()
    before = logits(model)
    convert(model)
    save_compressed(copy.deepcopy(model), tmp_path / "m.pofa")
    assert torch.equal(logits(load_compressed(tmp_path / "m.pofa")), before)


def test_an_unknown_form_is_refused_before_anything_is_done(tmp_path):
    with pytest.raises(ConfigurationError, match="form is 'zip', allowed is 'bitmask' or 'packed'"):
        save_compressed(sparse(), tmp_path / "m.pofa", form="zip")
