"""inspect_onnx: files of other exporters, and damaged or hostile ones."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from pruneofa.checkpoint.dtypes import DTYPES_BY_NAME
from pruneofa.checkpoint.packed.entropy import entropy_bits
from pruneofa.errors import CheckpointError
from pruneofa.export.inspection import inspect_onnx

WEIGHT = np.array([[0, 0, 3], [0, -2, 0], [1, 0, 0], [0, 0, 0]], dtype=np.int8)  # 3 of 12 are not zero
SCALAR = np.array(0.5, dtype=np.float32)
NAMED = '{"encoder_weights": ["w"], "pooler_weights": []}'


def graph(nodes, constants, *, facts=None):
    made = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)])
    if facts is not None:
        helper.set_model_props(model, {"pruneofa": facts})
    return model


def saved(tmp_path, model):
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def named(name, array):
    return numpy_helper.from_array(array, name)


LAYER = "/bert/encoder/layer.0/output/dense/MatMul"


@pytest.mark.parametrize(
    ("nodes", "constants", "bits", "bytes_encoder"),
    [
        (  # torch's older exporter: folded weight, the module in the node's name
            [helper.make_node("MatMul", ["x", "onnx::MatMul_7"], ["y"], LAYER)],
            {"onnx::MatMul_7": WEIGHT.astype(np.float32)},
            32,
            48,
        ),
        (  # a transposed weight, half precision
            [
                helper.make_node("Transpose", ["encoder.layer.0.w"], ["t"], perm=[1, 0]),
                helper.make_node("Cast", ["t"], ["c"], to=1),
                helper.make_node("MatMul", ["x", "c"], ["y"]),
            ],
            {"encoder.layer.0.w": WEIGHT.T.astype(np.float16)},
            16,
            24,
        ),
        (  # uint8 levels around a zero point, as ONNX Runtime's quantizer writes them
            [
                helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], LAYER),
                helper.make_node("MatMul", ["x", "w"], ["y"]),
            ],
            {"q": (WEIGHT.astype(np.int16) + 128).astype(np.uint8), "s": SCALAR, "z": np.array(128, np.uint8)},
            8,
            12 + 4 + 1,
        ),
        (  # fused: QLinearMatMul with a zero point for each column
            [helper.make_node("QLinearMatMul", ["x", "a", "b", "q", "s", "z", "a", "b"], ["y"], LAYER)],
            {
                "q": (WEIGHT + np.array([1, 0, -1], dtype=np.int8)).astype(np.int8),
                "s": np.ones(3, np.float32),
                "z": np.array([1, 0, -1], dtype=np.int8),
                "a": SCALAR,
                "b": np.array(0, np.uint8),
            },
            8,
            12 + 12 + 3,
        ),
    ],
)  # fmt: skip
def test_files_of_other_exporters(tmp_path, nodes, constants, bits, bytes_encoder):
    model = graph(nodes, [named(name, array) for name, array in constants.items()])
    found = inspect_onnx(saved(tmp_path, model))
    assert (found.encoder_parameters, found.encoder_nonzero, found.bits) == (12, 3, bits)
    assert found.bytes_encoder == bytes_encoder
    assert found.nominal_ratio == 32 / bits * 4


@pytest.mark.parametrize("transposed", [False, True])
def test_the_bound_knows_the_scales(tmp_path, transposed):
    """Rows with fine scales have large levels: told apart they take fewer bits, whichever way the matrix lies."""
    random = np.random.default_rng(0)
    scales = np.where(np.arange(40) % 2, 1.0, 0.05).astype(np.float32)
    levels = np.clip(np.rint(random.normal(size=(40, 400)) * 3 / scales[:, None]), -127, 127).astype(np.int8)
    steps = [helper.make_node("DequantizeLinear", ["q", "s"], ["d"], axis=0 if transposed else 1)]
    steps += [helper.make_node("Transpose", ["d"], ["w"], perm=[1, 0])] if transposed else []
    product = helper.make_node("MatMul", ["x", "w" if transposed else "d"], ["y"], LAYER)
    constants = [named("q", levels if transposed else levels.T.copy()), named("s", scales)]
    found = inspect_onnx(saved(tmp_path, graph([*steps, product], constants)))
    kind = DTYPES_BY_NAME["int8"]
    assert found.entropy_bound_bytes == pytest.approx(entropy_bits(levels, kind, scales) / 8)
    assert found.entropy_bound_bytes < 0.95 * entropy_bits(levels, kind) / 8


def test_pooler_and_head_are_not_the_encoder(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "encoder.layer.0.w"], ["a"]),
        helper.make_node("Gemm", ["a", "bert.pooler.dense.weight"], ["b"]),
        helper.make_node("Gemm", ["b", "classifier.weight"], ["y"]),
    ]
    constants = [
        named("encoder.layer.0.w", WEIGHT.astype(np.float32)),
        named("bert.pooler.dense.weight", np.eye(3, dtype=np.float32)),
        named("classifier.weight", np.ones((3, 2), np.float32)),
    ]
    found = inspect_onnx(saved(tmp_path, graph(nodes, constants)))
    assert {t.name: t.role for t in found.tensors} == {
        "encoder.layer.0.w": "encoder",
        "bert.pooler.dense.weight": "pooler",
        "classifier.weight": "other",
    }
    assert found.pooler_sparsity == pytest.approx(2 / 3)


def test_values_in_typed_fields_and_constant_nodes(tmp_path):
    values = WEIGHT.astype(np.float32).reshape(-1).tolist()
    typed = helper.make_tensor("encoder.layer.0.w", TensorProto.FLOAT, [4, 3], values)
    constant = helper.make_node(
        "Constant",
        [],
        ["encoder.layer.1.w"],
        value=helper.make_tensor("", TensorProto.INT8, [3, 2], [1, 0, 0, 0, 0, 2]),
    )
    nodes = [
        constant,
        helper.make_node("MatMul", ["x", "encoder.layer.0.w"], ["a"]),
        helper.make_node("DequantizeLinear", ["encoder.layer.1.w", "s"], ["w"]),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    found = inspect_onnx(saved(tmp_path, graph(nodes, [typed, named("s", SCALAR)])))
    assert (found.encoder_parameters, found.encoder_nonzero) == (18, 5)


def simple(**changes):
    tensor = named("encoder.layer.0.w", WEIGHT.astype(np.float32))
    for key, value in changes.items():
        if key == "dims":
            del tensor.dims[:]
            tensor.dims.extend(value)
        else:
            setattr(tensor, key, value)
    return graph([helper.make_node("MatMul", ["x", "encoder.layer.0.w"], ["y"])], [tensor])


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (simple(dims=[4, 4]), r"of shape \[4, 4\] has 48 bytes, 64 are needed"),
        (simple(dims=[2**40, 2**40]), "which are no shape or too large"),
        (simple(dims=[-1, 3]), "which are no shape or too large"),
        (simple(data_type=TensorProto.INT4), "has the ONNX type 22, which is not supported"),
        (simple(data_location=TensorProto.EXTERNAL), "lie in another file; write one file with all of it"),
        (graph([helper.make_node("Relu", ["x"], ["y"])], []), "so there is no encoder to measure"),
        (graph([helper.make_node("Relu", ["x"], ["y"])], [], facts="{"), "metadata 'pruneofa': not valid JSON"),
        (graph([helper.make_node("Relu", ["x"], ["y"])], [], facts="[]"), "a JSON object is needed"),
        (graph([helper.make_node("Relu", ["x"], ["y"])], [], facts="{}"), "encoder_weights is None"),
        (
            graph([helper.make_node("Relu", ["x"], ["y"])], [], facts=NAMED),
            "names the weight 'w', which no product",
        ),
        (
            graph([helper.make_node("MatMul", ["x", "a"], ["y"])], [named("a", WEIGHT), named("a", WEIGHT)]),
            "two constant tensors are named 'a'",
        ),
    ],
)  # fmt: skip
def test_hostile_files_are_refused(tmp_path, model, text):
    path = saved(tmp_path, model)
    with pytest.raises(CheckpointError, match=text) as caught:
        inspect_onnx(path)
    assert str(path) in str(caught.value)


def test_zero_points_that_fit_no_axis(tmp_path):
    nodes = [
        helper.make_node("DequantizeLinear", ["encoder.layer.0.q", "s", "z"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    constants = [
        named("encoder.layer.0.q", WEIGHT),
        named("s", np.ones(5, np.float32)),
        named("z", np.ones(5, np.int8)),
    ]
    with pytest.raises(CheckpointError, match=r"zero points 'z' have the shape \[5\] for a weight of shape \[4, 3\]"):
        inspect_onnx(saved(tmp_path, graph(nodes, constants)))


def test_no_onnx_file(tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(CheckpointError, match="cannot be read"):
        inspect_onnx(path)
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(CheckpointError, match="not an ONNX file, or damaged"):
        inspect_onnx(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="holds no ONNX graph"):
        inspect_onnx(path)


def test_names_that_are_no_text(tmp_path):
    path = saved(tmp_path, simple())
    good = path.read_bytes()
    for name in (b"MatMul", b"encoder.layer.0.w"):
        path.write_bytes(good.replace(name, b"\xff" + name[1:]))
        with pytest.raises(CheckpointError, match="is not UTF-8 text"):
            inspect_onnx(path)


GOOD = simple().SerializeToString()


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_damage_gives_a_clean_error_or_a_count(tmp_path_factory, data):
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        found = inspect_onnx(path)
    except CheckpointError:
        return
    assert 0 <= found.encoder_nonzero <= found.encoder_parameters
    assert onnx.load(path)
