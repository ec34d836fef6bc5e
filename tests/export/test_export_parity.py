"""Exported graphs in ONNX Runtime (and OpenVINO, where it is installed) against PyTorch."""

import collections
import copy

import numpy as np
import onnx
import pytest
import torch
from export_models import FLOAT_CASES, INT8_CASES, LONGEST, Int8Model, batches, input_names, make_model

from pruneofa.export.heads import Exportable
from pruneofa.export.parity import BATCHES, LENGTHS, Parity, measure_parity
from pruneofa.export.runtime import OnnxModel
from pruneofa.quantization.qat import prepare_from_state

pytestmark = pytest.mark.slow

# Rounding of float32 sums in another order; values are of size 1.
FLOAT_BOUND = 1e-5
# A level next to a tie may be the next one: a step of 1/255 of a range, and few of them. Most often there is none.
INT8_BOUND = 0.02


def parity_of(reference, settings, exported) -> Parity:
    exportable = Exportable(reference, **settings).eval()
    candidate = OnnxModel(exported.SerializeToString(), threads=1)
    pad = reference.config.pad_token_id or 0
    return measure_parity(exportable, candidate, LONGEST, 40, pad)


def fake_quantized(model: Int8Model):
    return prepare_from_state(copy.deepcopy(model.plain), model.state).eval()


@pytest.mark.parametrize("name", FLOAT_CASES)
def test_float_models_agree_over_lengths_batches_and_padding(floats, name):
    model, settings, exported = floats(name)
    parity = parity_of(model, settings, exported)
    assert parity.batches == len(BATCHES) * len({*(n for n in LENGTHS if n <= LONGEST), LONGEST})
    assert parity.longest == LONGEST
    assert parity.largest > 0.1
    assert parity.max_error < FLOAT_BOUND * max(1.0, parity.largest)


@pytest.mark.parametrize("name", INT8_CASES)
def test_int8_models_agree_with_the_fake_quantized_one(int8s, name):
    model, settings, exported = int8s(name)
    parity = parity_of(fake_quantized(model), settings, exported)
    assert parity.largest > 0.1
    assert parity.max_error < INT8_BOUND * max(1.0, parity.largest)
    # It is not the float model on the same weights: that one is farther away.
    without = parity_of(model.plain, settings, exported)
    assert without.max_error > 10 * parity.max_error


@pytest.mark.parametrize("name", INT8_CASES)
def test_runtimes_find_the_integers(int8s, name, tmp_path):
    """ONNX Runtime fuses the pairs around each product into a product of integers."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.log_severity_level = 3
    _, _, exported = int8s(name)
    onnxruntime.InferenceSession(exported.SerializeToString(), options)
    fused = collections.Counter(node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node)
    encoder = 6
    assert fused["MatMulIntegerToFloat"] + fused["QLinearMatMul"] >= encoder
    products = sum(node.op_type == "MatMul" for node in exported.graph.node)
    assert fused["MatMul"] <= products - encoder


def test_task_metrics_are_equal(int8s):
    """1,000 texts whose labels are another model's answers: both runtimes do as well, within 0.1 point."""
    model, _, exported = int8s("bert-classification")
    teacher = make_model("bert", "classification", seed=2)
    runtime, reference = OnnxModel(exported.SerializeToString(), threads=1), fake_quantized(model)
    generator = torch.Generator().manual_seed(3)
    inputs = {
        "input_ids": torch.randint(1, 40, (1000, 12), generator=generator),
        "attention_mask": torch.ones(1000, 12, dtype=torch.long),
        "token_type_ids": torch.zeros(1000, 12, dtype=torch.long),
    }
    with torch.no_grad():
        labels = teacher(**inputs).logits.argmax(dim=1)
        expected = (reference(**inputs).logits.argmax(dim=1) == labels).float().mean()
    found = (runtime(**inputs)["logits"].argmax(dim=1) == labels).float().mean()
    assert 0.2 < expected < 0.95
    assert abs(float(found - expected)) <= 0.001


@pytest.mark.parametrize("name", FLOAT_CASES)
def test_padding_changes_nothing(floats, name):
    """The mask at dynamic length and batch: a text alone, and among longer ones with anything as its padding."""
    _, _, exported = floats(name)
    runtime = OnnxModel(exported.SerializeToString(), threads=1)
    generator = torch.Generator().manual_seed(1)
    for length in (1, 3, 9):
        alone = {
            "input_ids": torch.randint(5, 40, (1, length), generator=generator),
            "attention_mask": torch.ones(1, length, dtype=torch.long),
            "token_type_ids": torch.zeros(1, length, dtype=torch.long),
        }
        for batch, padded in ((1, length + 1), (4, 21)):
            among = {
                "input_ids": torch.randint(5, 40, (batch, padded), generator=generator),
                "attention_mask": torch.ones(batch, padded, dtype=torch.long),
                "token_type_ids": torch.zeros(batch, padded, dtype=torch.long),
            }
            among["input_ids"][-1, :length] = alone["input_ids"][0]
            among["attention_mask"][-1, length:] = 0
            first, last = runtime(**alone), runtime(**among)
            for output in runtime.output_names:
                expected = first[output][0]
                found = last[output][-1]
                found = found[: len(expected)] if "logits" in output and len(found) == padded else found
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["float", "int8"])
def test_openvino_agrees(floats, int8s, name):
    openvino = pytest.importorskip("openvino")
    if name == "float":
        reference, _, exported = floats("bert-masked_lm")
        bound = FLOAT_BOUND
    else:
        model, _, exported = int8s("bert-classification")
        reference, bound = fake_quantized(model), INT8_BOUND
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(exported.SerializeToString()), "CPU", settings)
    error = largest = 0.0
    for inputs in batches(reference):
        with torch.no_grad():
            expected = reference(**inputs).logits.numpy()
        found = compiled({name: inputs[name].numpy() for name in input_names(reference)})["logits"]
        error, largest = max(error, float(np.abs(found - expected).max())), max(largest, float(np.abs(expected).max()))
    assert error < bound * max(1.0, largest)


def test_what_a_tokenizer_leaves_out_has_the_models_default(int8s):
    _, _, exported = int8s("bert-classification")
    runtime, ids = OnnxModel(exported.SerializeToString(), threads=1), torch.tensor([[5, 6, 7]])
    given = runtime(input_ids=ids, attention_mask=torch.ones_like(ids), token_type_ids=torch.zeros_like(ids))
    assert torch.equal(runtime(input_ids=ids)["logits"], given["logits"])


def test_an_error_that_rounding_explains_and_one_that_it_does_not():
    assert Parity(9e-4, 0.5, 1, 1).fits(int8=False)
    assert not Parity(1.1e-3, 0.5, 1, 1).fits(int8=False)
    assert Parity(1.9, 20.0, 1, 1).fits(int8=True)
    assert not Parity(2.1, 20.0, 1, 1).fits(int8=True)
    assert not Parity(float("nan"), 1.0, 1, 1).fits(int8=True)
