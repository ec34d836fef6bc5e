"""What an exported graph holds: names, types, exact zeros, and nothing of the machine that made it."""

import copy

import numpy as np
import onnx
import pytest
import torch
from export_models import make_model
from onnx import numpy_helper
from torch import nn

from pruneofa.architectures.linears import encoder_linears
from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.checkpoint.manifest import Manifest, write_manifest
from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.export import exporter
from pruneofa.export.exporter import export_onnx, write_onnx
from pruneofa.export.heads import Exportable, head_of
from pruneofa.export.inspection import inspect_onnx
from pruneofa.quantization.state import save_quantization

pytestmark = pytest.mark.slow


@pytest.fixture
def float_bert(floats):
    model, _, exported = floats("bert-masked_lm")
    return model, exported


@pytest.fixture
def int8_bert(int8s):
    model, _, exported = int8s("bert-classification")
    return model, exported


def constants(exported):
    return {initializer.name: numpy_helper.to_array(initializer) for initializer in exported.graph.initializer}


def test_inputs_and_outputs_are_named_and_dynamic(float_bert):
    _, exported = float_bert
    shapes = {
        value.name: [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*exported.graph.input, *exported.graph.output)
    }
    assert shapes == {
        "input_ids": ["batch", "length"],
        "attention_mask": ["batch", "length"],
        "token_type_ids": ["batch", "length"],
        "logits": ["batch", "length", 40],
    }
    assert exported.opset_import[0].version >= 13


def test_checker_and_full_shape_inference_accept_it(int8_bert):
    _, exported = int8_bert
    onnx.checker.check_model(exported, full_check=True)
    bare = copy.deepcopy(exported)
    bare.graph.ClearField("value_info")
    inferred = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True)
    known = {value.name for value in (*inferred.graph.value_info, *inferred.graph.output)}
    assert {name for node in inferred.graph.node for name in node.output} <= known


def test_weights_keep_their_names_and_their_exact_zeros(float_bert, int8_bert):
    model, exported = float_bert
    values = constants(exported)
    for name, linear in encoder_linears(model).items():
        assert np.array_equal(values[f"{name}.weight"].T, linear.weight.detach().numpy())
    model, exported = int8_bert
    values = constants(exported)
    for name, linear in encoder_linears(model.plain).items():
        weight, levels = linear.weight.detach().numpy(), values[f"{name}.weight"]
        assert levels.dtype == np.int8
        assert np.array_equal(levels.T == 0, weight == 0)
        assert np.mean(levels == 0) > 0.6
        scale = values[f"{name}.weight_scale"]
        assert np.array_equal(levels.astype(np.float32) * scale, weight.T)  # bit for bit, and so are the zeros
        assert not values[f"{name}.weight_zero_point"].any()


def test_quantizers_are_those_of_the_state(int8_bert):
    model, exported = int8_bert
    nodes = {node.output[0]: node for node in exported.graph.node}
    values = constants(exported)
    for name, parameters in model.state.modules.items():
        levels = nodes[f"{name}.weight_float"]
        assert levels.op_type == "DequantizeLinear"
        assert levels.attribute[0].i == (0 if name in ("classifier", "bert.pooler.dense") else 1)
        product = next(node for node in exported.graph.node if f"{name}.weight_float" in node.input)
        read = nodes[product.input[0]]
        assert read.op_type == "DequantizeLinear"
        assert nodes[read.input[0]].op_type == "QuantizeLinear"
        assert values[read.input[1]] == parameters.input_scale.numpy()[0]
        assert values[read.input[2]] == parameters.input_zero_point.numpy()[0]
        assert values[read.input[2]].dtype == np.uint8
        has_output = f"{name}.output_scale" in values
        assert has_output == (parameters.output_scale is not None)
        if has_output:
            assert values[f"{name}.output_scale"] == parameters.output_scale.numpy()[0]
    attention = "bert.encoder.layer.0.attention.self"
    products = [
        n
        for n in exported.graph.node
        if any(f"{attention}.{x}.weight_float" in n.input for x in ("query", "key", "value"))
    ]
    assert len({product.input[0] for product in products}) == 1  # one pair of nodes for three equal grids


def test_nothing_of_the_machine_is_in_the_file(float_bert, int8_bert):
    for _, exported in (float_bert, int8_bert):
        content = exported.SerializeToString()
        for text in (b"site-packages", b".py", b"stack_trace", b"pkg.torch"):
            assert text not in content
        assert exported.producer_name == "pruneofa"


def test_the_model_is_left_as_it_was(float_bert):
    model, _ = float_bert
    again = make_model("bert", "masked_lm")
    assert model.config._attn_implementation == again.config._attn_implementation
    for name, value in again.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_inspection_counts_as_for_the_folder(int8_bert, float_bert, tmp_path):
    for (model, exported), is_int8 in ((int8_bert, True), (float_bert, False)):
        plain = model.plain if is_int8 else model
        folder = tmp_path / str(is_int8)
        plain.save_pretrained(folder)
        if is_int8:
            save_quantization(model.state, folder)
        encoder = tuple(f"{name}.weight" for name in encoder_linears(plain))
        write_manifest(folder, Manifest("test", encoder, ("bert.pooler.dense.weight",) if is_int8 else ()))
        path = write_onnx(exported, folder / "model.onnx")
        expected, found = inspect_model(folder).as_dict(), inspect_onnx(path).as_dict()
        assert set(found) == set(expected)
        for key in (
            "encoder_sparsity",
            "encoder_parameters",
            "encoder_nonzero",
            "pooler_sparsity",
            "bits",
            "nominal_ratio",
        ):
            assert found[key] == expected[key], key
        assert found["entropy_bound_bytes"] == pytest.approx(expected["entropy_bound_bytes"])
        assert found["bytes_total"] == path.stat().st_size
        rows = sum(linear.out_features for linear in encoder_linears(plain).values())
        size = expected["encoder_parameters"]
        assert found["bytes_encoder"] == (size + 5 * rows if is_int8 else 4 * size)
        assert found["real_ratio"] == 4 * size / found["bytes_encoder"]
        assert {t["name"] for t in found["tensors"] if t["role"] == "encoder"} == set(encoder)
        assert set(found["tensors"][0]) == set(expected["tensors"][0])


def test_a_file_is_written_whole_or_not_at_all(float_bert, tmp_path, monkeypatch):
    _, exported = float_bert
    path = tmp_path / "model.onnx"
    path.write_bytes(b"older")
    monkeypatch.setattr(exporter, "MAX_BYTES", 1000)
    with pytest.raises(ConfigurationError, match=r"would have \d+ bytes, one file may have 1000; quantize"):
        write_onnx(exported, path)
    assert path.read_bytes() == b"older"
    with pytest.raises(ConfigurationError, match="is a folder; give the name of the file"):
        write_onnx(exported, tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_grids_of_another_model_are_refused(int8_bert, tmp_path):
    model, _ = int8_bert
    other = make_model("bert", "classification", seed=1)
    with pytest.raises(CheckpointError, match=r"weight isn't on the integer grid of its stored scale"):
        export_onnx(other, tmp_path / "x.onnx", model.state)
    foreign = copy.deepcopy(model.state)
    foreign.modules["bert.nothing"] = next(iter(foreign.modules.values()))
    with pytest.raises(CheckpointError, match=r"'bert\.nothing' is none of this BertForSequenceClassification"):
        export_onnx(model.plain, tmp_path / "x.onnx", foreign)
    assert list(tmp_path.iterdir()) == []


def test_heads_that_cannot_be_exported_and_wrong_settings():
    class Odd(nn.Module):
        pass

    with pytest.raises(ConfigurationError, match="model is a Odd, which can't be exported to ONNX; allowed are bare"):
        head_of(Odd())
    model = make_model("bert", "classification")
    with pytest.raises(ConfigurationError, match="pooling is 'sum', allowed is cls or max or mean"):
        Exportable(model, "sum")
    with pytest.raises(ConfigurationError, match="normalize needs pooling"):
        Exportable(model, normalize=True)
    assert Exportable(model, "cls").output_names == ("sentence_embedding",)
