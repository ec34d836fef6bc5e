"""The Linear layers of an exported graph: their product, their weight, and the value that they give."""

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from pruneofa.errors import ConfigurationError
from pruneofa.export.float_graph import module_of

__all__ = ["LinearSite", "find_linears", "set_weight", "use_named_weights"]


@dataclass(frozen=True)
class LinearSite:
    """Where a Linear is in the graph.

    Attributes:
        name: Dotted name of the module.
        product: Its MatMul or Gemm; input 0 is the Linear's input.
        output: Name of the value that the Linear gives, bias added.
        weight: float32, [out_features, in_features].
        transposed: Whether the graph's weight is [in_features, out_features], as MatMul needs it.
    """

    name: str
    product: onnx.NodeProto
    output: str
    weight: NDArray[np.float32]
    transposed: bool

    @property
    def channel_axis(self) -> int:
        """Axis of the graph's weight that counts output features."""
        return 1 if self.transposed else 0


def find_linears(graph: onnx.GraphProto, model: nn.Module) -> dict[str, LinearSite]:
    """The Linear layers of `model` that the graph of it holds, by name; those that no output needs are not among them.

    Raises:
        ConfigurationError: The exporter wrote one in a form that is not known, or another weight than the model's.
    """
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    initializers = {initializer.name: initializer for initializer in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    nodes: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        if (name := module_of(node)) in linears:
            nodes.setdefault(name, []).append(node)
    sites: dict[str, LinearSite] = {}
    for name, found in nodes.items():
        products = [node for node in found if node.op_type in ("MatMul", "Gemm")]
        if len(products) != 1 or len(found[-1].output) != 1:
            raise _unknown_form(name, [node.op_type for node in found])
        transposed = _is_transposed(products[0])
        weight = _weight(products[0].input[1], initializers, producers)
        expected = linears[name].weight.detach().float().cpu().numpy()
        if weight is None or not np.array_equal(weight.T if transposed else weight, expected):
            raise _unknown_form(name, [node.op_type for node in found])
        sites[name] = LinearSite(name, products[0], found[-1].output[0], expected, transposed)
    return sites


def set_weight(graph: onnx.GraphProto, site: LinearSite, values: NDArray[np.generic]) -> str:
    """Add `values` ([out_features, in_features]) as the Linear's weight, named as in the model; its name.

    What was the weight stays in the graph, unused, until dead parts are taken out.
    """
    name = f"{site.name}.weight"
    for initializer in graph.initializer:
        if initializer.name == name:  # another Linear's product may use it too, where the model shares the weight
            _rename(graph, initializer, f"{name}.exported")
            break
    oriented = np.ascontiguousarray(values.T if site.transposed else values)
    graph.initializer.append(numpy_helper.from_array(oriented, name))
    return name


def use_named_weights(graph: onnx.GraphProto, model: nn.Module) -> None:
    """Give each Linear a constant weight of its own, named as in the model and oriented as its product needs it.

    A weight that the model shares (an MLM decoder tied to the embeddings) stays one tensor, transposed by the graph.
    """
    holders: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            holders[id(parameter)] = holders.get(id(parameter), 0) + 1
    for site in find_linears(graph, model).values():
        if holders[id(model.get_submodule(site.name).weight)] == 1:
            site.product.input[1] = set_weight(graph, site, site.weight)


def _rename(graph: onnx.GraphProto, initializer: onnx.TensorProto, name: str) -> None:
    for node in graph.node:
        for i, found in enumerate(node.input):
            if found == initializer.name:
                node.input[i] = name
    initializer.name = name


def _is_transposed(product: onnx.NodeProto) -> bool:
    attributes = {attribute.name: attribute for attribute in product.attribute}
    return product.op_type == "MatMul" or not ("transB" in attributes and attributes["transB"].i)


def _weight(
    name: str, initializers: dict[str, onnx.TensorProto], producers: dict[str, onnx.NodeProto]
) -> NDArray[np.float32] | None:
    """The constant matrix behind a name; the exporter leaves large weights to be transposed when the graph runs."""
    if name in initializers:
        found: NDArray[np.float32] = numpy_helper.to_array(initializers[name])
        return found
    node = producers.get(name)
    if node is not None and node.op_type == "Transpose" and node.input[0] in initializers:
        return numpy_helper.to_array(initializers[node.input[0]]).T
    return None


def _unknown_form(name: str, operators: list[str]) -> ConfigurationError:
    return ConfigurationError(
        f"torch.onnx.export wrote the Linear {name!r} as {', '.join(operators)}, which this pruneofa does not know; "
        "install the versions of torch and onnxscript that constraints.txt names"
    )
