"""Q/DQ nodes: the float graph computes on the grids of a quantized model.

docs/quantization.md defines the grids. What ONNX has no other word for: QuantizeLinear divides by the scale where the
reference multiplies by its reciprocal, so that a level may be the next one in rare ties.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn

from pruneofa.checkpoint.dtypes import DTYPES_BY_NAME
from pruneofa.checkpoint.int8 import grid_integers
from pruneofa.errors import CheckpointError
from pruneofa.export.attention_products import IntegerAttention
from pruneofa.export.float_graph import module_of
from pruneofa.export.linears import LinearSite, find_linears, set_weight
from pruneofa.quantization.parameters import LinearParameters, QuantizedState

__all__ = ["check_state", "quantize_graph"]

_Nodes = list[onnx.NodeProto]


def quantize_graph(graph: onnx.GraphProto, model: nn.Module, state: QuantizedState) -> None:
    """Insert, in place, int8 weights, and Q/DQ pairs for inputs and, where they have a grid, outputs.

    Args:
        graph: Of `model`, from `float_graph`.
        model: The plain model that `convert` left: its weights lie on their grids.
        state: Its grids.

    Raises:
        CheckpointError: As `check_state`.
        ConfigurationError: The graph has a form that is not known.
    """
    _Inserter(graph, model, state).run()


def check_state(model: nn.Module, state: QuantizedState) -> None:
    """See that the model's weights lie on the state's grids.

    Raises:
        CheckpointError: A weight is not on its grid, or the state names modules that the model doesn't have.
    """
    known = dict(model.named_modules())
    scales = {name: grid.weight_scale for name, grid in state.modules.items()}
    scales |= {name: grid.weight_scale for name, grid in state.embeddings.items()}
    for name, scale in scales.items():
        weight = getattr(known.get(name), "weight", None)
        if not isinstance(weight, Tensor):
            raise CheckpointError(
                f"the quantized module {name!r} is none of this {type(model).__name__}; export the model "
                "that was quantized"
            )
        _levels(name, _numpy(weight), _numpy(scale))


class _Inserter:
    """Goes through the nodes once; new ones come before or after those that they belong to."""

    def __init__(self, graph: onnx.GraphProto, model: nn.Module, state: QuantizedState) -> None:
        self._graph, self._model, self._state = graph, model, state
        self._sites = {name: site for name, site in find_linears(graph, model).items() if name in state.modules}
        self._shared: dict[tuple[str, bytes, int], str] = {}  # one pair of nodes for equal grids of one value

    def run(self) -> None:
        products = {site.product.output[0]: site for site in self._sites.values()}
        outputs = {site.output: site for site in self._sites.values()}
        attention = IntegerAttention(self._graph, self._state) if self._state.config.attention_products else None
        nodes: _Nodes = []
        for node in self._graph.node:
            name = node.output[0] if node.output else ""
            nodes += self._before_product(products[name]) if name in products else []
            following = self._after(node, outputs[name]) if name in outputs else []
            if attention is not None and (replaced := attention.replace(node)) is not None:
                nodes += replaced
            elif node.op_type == "Gather" and (table := module_of(node)) in self._state.embeddings:
                nodes += self._gather(node, table)
            else:
                nodes.append(node)
            nodes += following
        if attention is not None:
            attention.check()
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del self._graph.node[:]
        self._graph.node.extend(kept)

    def _before_product(self, site: LinearSite) -> _Nodes:
        """The weight's DequantizeLinear and, unless another Linear has the same, the input's pair."""
        parameters = self._state.modules[site.name]
        scale = _numpy(parameters.weight_scale)
        weight = set_weight(self._graph, site, _levels(site.name, site.weight, scale))
        per_channel = scale.size > 1
        names = self._grid(f"{site.name}.weight", scale if per_channel else scale.reshape(()), np.int8, 0)
        nodes = [helper.make_node("DequantizeLinear", [weight, *names], [f"{weight}_float"], f"{site.name}/dequantize")]
        if per_channel:
            nodes[0].attribute.append(helper.make_attribute("axis", site.channel_axis))
        site.product.input[1] = f"{weight}_float"
        source = site.product.input[0]
        zero_point = int(parameters.input_zero_point)
        key = (source, _numpy(parameters.input_scale).tobytes(), zero_point)
        if key not in self._shared:
            self._shared[key] = f"{site.name}.input_dequantized"
            nodes += self._pair(source, f"{site.name}.input", parameters.input_scale, zero_point, self._shared[key])
        site.product.input[0] = self._shared[key]
        return nodes

    def _after(self, node: onnx.NodeProto, site: LinearSite) -> _Nodes:
        """The pair for the Linear's output, which goes on under its old name."""
        parameters: LinearParameters = self._state.modules[site.name]
        if parameters.output_scale is None or parameters.output_zero_point is None:
            return []
        output, before = site.output, f"{site.name}.output_float"
        node.output[0] = before
        zero_point = int(parameters.output_zero_point)
        return self._pair(before, f"{site.name}.output", parameters.output_scale, zero_point, output)

    def _pair(self, source: str, place: str, scale: Tensor, zero_point: int, output: str) -> _Nodes:
        names = self._grid(place, _numpy(scale).reshape(()), np.uint8, zero_point)
        levels = f"{place}_levels"
        return [
            helper.make_node("QuantizeLinear", [source, *names], [levels], f"{place}/quantize"),
            helper.make_node("DequantizeLinear", [levels, *names], [output], f"{place}/dequantize"),
        ]

    def _grid(self, place: str, scale: NDArray[np.float32], levels: type[np.generic], zero_point: int) -> list[str]:
        """Add the initializers of a grid; their names."""
        names = [f"{place}_scale", f"{place}_zero_point"]
        zero_points = np.full(scale.shape, zero_point, dtype=levels)
        for name, values in zip(names, (scale, zero_points), strict=True):
            self._graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return names

    def _gather(self, node: onnx.NodeProto, table: str) -> _Nodes:
        """Rows of an int8 table: value = float(level) * scale, of the row or of the table."""
        scale = _numpy(self._state.embeddings[table].weight_scale)
        weight = self._model.get_submodule(table).weight
        assert isinstance(weight, Tensor)
        levels = _levels(table, _numpy(weight), scale)
        name = f"{table}.weight_levels"
        self._graph.initializer.append(numpy_helper.from_array(levels, name))
        rows, output = node.input[1], node.output[0]
        if scale.size == 1:
            names = self._grid(f"{table}.weight", scale.reshape(()), np.int8, 0)
            return [
                helper.make_node("Gather", [name, rows], [f"{output}_levels"], f"{table}/gather"),
                helper.make_node("DequantizeLinear", [f"{output}_levels", *names], [output], f"{table}/dequantize"),
            ]
        # DequantizeLinear has one scale for each index of an axis; rows that are looked up have theirs looked up too.
        self._graph.initializer.append(numpy_helper.from_array(scale.reshape(-1, 1), f"{table}.weight_scale"))
        return [
            helper.make_node("Gather", [name, rows], [f"{output}_levels"], f"{table}/gather"),
            helper.make_node("Gather", [f"{table}.weight_scale", rows], [f"{output}_scales"], f"{table}/gather_scale"),
            helper.make_node(
                "Cast", [f"{output}_levels"], [f"{output}_whole"], f"{table}/cast", to=onnx.TensorProto.FLOAT
            ),
            helper.make_node("Mul", [f"{output}_whole", f"{output}_scales"], [output], f"{table}/scale"),
        ]


def _levels(name: str, weight: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.int8]:
    levels = grid_integers(weight, scale, DTYPES_BY_NAME["float32"])
    if levels is None:
        raise CheckpointError(
            f"{name}.weight isn't on the integer grid of its stored scale; export the model that was saved with these "
            "scales, in float32"
        )
    return levels


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = tensor.detach().float().cpu().numpy()
    return values
