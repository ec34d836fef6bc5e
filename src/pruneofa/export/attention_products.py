"""Attention's product of weights and values on integers, as docs/quantization.md defines it, in ONNX's words.

Softmax becomes its parts: P = round(255 exp(x - max)), and the context P v is divided by the sum of the rounded P. The
scores' product stays between q and k on their grids, in float or integers as the runtime likes: both are exact enough
that the bound of that page holds.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pruneofa.errors import ConfigurationError
from pruneofa.export.float_graph import module_of
from pruneofa.quantization.parameters import QuantizedState

__all__ = ["IntegerAttention"]

_SCALE, _ZERO_POINT, _AXIS = "attention.weights_scale", "attention.weights_zero_point", "attention.last_axis"


class IntegerAttention:
    """Replaces each attention's softmax, and the product behind it.

    Raises:
        ConfigurationError: A softmax of an attention has other consumers than one product.
    """

    def __init__(self, graph: onnx.GraphProto, state: QuantizedState) -> None:
        holders = {name.rpartition(".")[0] for name in state.modules}
        self._sums: dict[str, str] = {}
        for node in graph.node:
            if node.op_type != "Softmax" or module_of(node) not in holders:
                continue
            used = [other for other in graph.node if node.output[0] in other.input]
            if len(used) != 1 or used[0].op_type != "MatMul" or used[0].input[0] != node.output[0]:
                raise ConfigurationError(
                    f"attention_products: the softmax of {module_of(node)!r} feeds {[user.op_type for user in used]}, "
                    "one MatMul is needed; export a model with attention_products false"
                )
            self._sums[node.output[0]] = f"{node.output[0]}_sum"
        self._done: set[str] = set()
        graph.initializer.extend(
            [
                numpy_helper.from_array(np.array(1 / 255, dtype=np.float32), _SCALE),
                numpy_helper.from_array(np.zeros((), dtype=np.uint8), _ZERO_POINT),
                numpy_helper.from_array(np.array([-1], dtype=np.int64), _AXIS),
            ]
        )

    def replace(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        """What stands in the place of a node; None where it stays."""
        if node.op_type == "Softmax" and node.output[0] in self._sums:
            return self._weights(node)
        if node.op_type == "MatMul" and node.input[0] in self._sums:
            return self._context(node)
        return None

    def check(self) -> None:
        """See that at least one attention was replaced.

        Raises:
            ConfigurationError: None was found.
        """
        if not self._sums or self._done != set(self._sums):
            raise ConfigurationError(
                "attention_products: the graph has no softmax in the attention modules of the quantized model; export "
                "a model with attention_products false"
            )

    def _weights(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        scores, weights = node.input[0], node.output[0]
        grid = [_SCALE, _ZERO_POINT]
        return [
            helper.make_node("ReduceMax", [scores, _AXIS], [f"{weights}_max"], f"{weights}/max", keepdims=1),
            helper.make_node("Sub", [scores, f"{weights}_max"], [f"{weights}_less"], f"{weights}/less"),
            helper.make_node("Exp", [f"{weights}_less"], [f"{weights}_powers"], f"{weights}/exp"),
            helper.make_node(
                "QuantizeLinear", [f"{weights}_powers", *grid], [f"{weights}_levels"], f"{weights}/quantize"
            ),
            helper.make_node("DequantizeLinear", [f"{weights}_levels", *grid], [weights], f"{weights}/dequantize"),
            helper.make_node("ReduceSum", [weights, _AXIS], [self._sums[weights]], f"{weights}/sum", keepdims=1),
        ]

    def _context(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        weights, output = node.input[0], node.output[0]
        self._done.add(weights)
        node.output[0] = f"{output}_unscaled"
        return [node, helper.make_node("Div", [node.output[0], self._sums[weights]], [output], f"{output}/scale")]
