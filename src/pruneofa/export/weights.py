"""Which constant tensors of an ONNX graph are weights of Linear layers, and whose."""

import json
import re
from dataclasses import dataclass

import onnx

from pruneofa.checkpoint.strict_json import parse_json
from pruneofa.errors import CheckpointError

__all__ = ["METADATA_KEY", "LinearWeight", "linear_weights", "read_metadata", "weight_role", "write_metadata"]

METADATA_KEY = "pruneofa"
"""Key in the file's metadata of what the exporter knows: JSON, see `write_metadata`."""

MAX_METADATA_BYTES = 16 * 2**20

# Index of the weight among the inputs of an operator.
_PRODUCTS = {"MatMul": 1, "Gemm": 1, "FusedMatMul": 1, "MatMulInteger": 1, "MatMulIntegerToFloat": 1}
_PRODUCTS |= {"DynamicQuantizeMatMul": 1, "QLinearMatMul": 3, "QGemm": 3}
_INTEGER_PRODUCTS = {"QLinearMatMul": (4, 5), "QGemm": (4, 5), "MatMulInteger": (None, 3)}
_PASSED_THROUGH = {"DequantizeLinear", "QuantizeLinear", "Transpose", "Cast", "Identity", "Reshape", "Squeeze"}
_LONGEST_WAY = 8
_LAYER = re.compile(r"(^|[./_])(layers?|h|blocks?)[._](\d+)([./_]|$)")
_POOLER = re.compile(r"(^|[./_])pooler([./_]|$)")


@dataclass(frozen=True)
class LinearWeight:
    """A constant matrix that a product multiplies by.

    Attributes:
        name: Of the constant tensor.
        place: Names of the product and of what lies between, for `weight_role`.
        scale: Name of the constant tensor with its scales, where it is quantized.
        zero_point: Name of the one with its zero points.
    """

    name: str
    place: tuple[str, ...]
    scale: str | None = None
    zero_point: str | None = None


def linear_weights(model: onnx.ModelProto, constants: dict[str, onnx.TensorProto]) -> dict[str, LinearWeight]:
    """The constant matrices that products of the main graph multiply by, by name, in the order of the graph."""
    producers = {output: node for node in model.graph.node for output in node.output if node.op_type != "Constant"}
    found: dict[str, LinearWeight] = {}
    for node in model.graph.node:
        index = _PRODUCTS.get(node.op_type)
        if index is None or len(node.input) <= index:
            continue
        scale, zero_point = (_input(node, i) for i in _INTEGER_PRODUCTS.get(node.op_type, (None, None)))
        name, place = node.input[index], [node.name, *node.output]
        for _ in range(_LONGEST_WAY):
            if name in constants:
                if len(constants[name].dims) == 2 and name not in found:
                    found[name] = LinearWeight(name, tuple(place), scale, zero_point)
                break
            before = producers.get(name)
            if before is None or before.op_type not in _PASSED_THROUGH or not before.input:
                break
            if before.op_type == "DequantizeLinear":
                scale, zero_point = _input(before, 1), _input(before, 2)
            place += [before.name, name]
            name = before.input[0]
    return found


def weight_role(weight: LinearWeight) -> str:
    """ "encoder", "pooler" or "other", by the names that exporters give: `...layer.3...` is the encoder's."""
    names = (weight.name, *weight.place)
    if any(_POOLER.search(name) for name in names):
        return "pooler"
    return "encoder" if any(_LAYER.search(name) for name in names) else "other"


def write_metadata(model: onnx.ModelProto, facts: dict[str, object]) -> None:
    """Put `facts` (JSON values) into the file's metadata; `encoder_weights` and `pooler_weights` name its tensors."""
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(facts, ensure_ascii=False)})


def read_metadata(model: onnx.ModelProto, where: str) -> dict[str, object] | None:
    """What `write_metadata` wrote; None for a file of another exporter.

    Raises:
        CheckpointError: It is malformed.
    """
    texts = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    if not texts:
        return None
    where = f"{where}: metadata {METADATA_KEY!r}"
    facts = parse_json(texts[0].encode("utf-8", "surrogatepass"), where, MAX_METADATA_BYTES)
    if not isinstance(facts, dict):
        raise CheckpointError(f"{where}: holds {type(facts).__name__}, a JSON object is needed; export the model again")
    for key in ("encoder_weights", "pooler_weights"):
        names = facts.get(key)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise CheckpointError(
                f"{where}: {key} is {names!r:.80}, allowed is a list of names; export the model again"
            )
    return facts


def _input(node: onnx.NodeProto, index: int | None) -> str | None:
    return node.input[index] if index is not None and len(node.input) > index and node.input[index] else None
