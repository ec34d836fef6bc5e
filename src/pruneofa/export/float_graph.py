"""The graph of a plain float model, from torch's exporter, tidied so that every node can be traced to its module."""

import ast
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import torch

from pruneofa.errors import ConfigurationError
from pruneofa.export.heads import Exportable

__all__ = ["BATCH", "LENGTH", "OPSET", "float_graph", "module_of", "without_dead_parts", "without_traces"]

OPSET = 18
"""Version of the ONNX operators that is written; per-channel quantization needs 13."""

BATCH, LENGTH = "batch", "length"
"""Names of the two dynamic dimensions."""

_SCOPES = "pkg.torch.onnx.name_scopes"
_MODEL_PREFIX = "model."
_EXAMPLE = (2, 8)  # sizes of 0 and 1 would be taken for constants


def float_graph(exportable: Exportable) -> onnx.ModelProto:
    """Export the float model; batch and length are dynamic.

    Initializers have the names of the model's parameters; each node's module is told by `module_of`.

    Raises:
        ConfigurationError: torch's exporter fails on this model.
    """
    exportable.eval()
    sizes = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in exportable.input_names}
    example = {name: torch.ones(_EXAMPLE, dtype=torch.long) for name in exportable.input_names}
    with _eager_attention(exportable.model), _quiet():
        try:
            program = torch.onnx.export(
                exportable,
                (),
                kwargs=example,
                input_names=list(exportable.input_names),
                output_names=list(exportable.output_names),
                opset_version=OPSET,
                dynamic_shapes=sizes,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # the exporter's errors have no common base
            text = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigurationError(
                f"torch.onnx.export can't export {type(exportable.model).__name__}: {text}; export another model"
            ) from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    found = next(entry.version for entry in model.opset_import if entry.domain == "")
    if found != OPSET:
        raise ConfigurationError(
            f"torch.onnx.export wrote opset {found} in place of {OPSET}; install the versions of torch and onnxscript "
            "that constraints.txt names"
        )
    _rename_initializers(model.graph)
    _name_dimensions(model.graph)
    return model


def module_of(node: onnx.NodeProto) -> str:
    """Dotted name of the model's module that a node of `float_graph` comes from; empty for the model itself."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            scopes: list[str] = ast.literal_eval(entry.value)
            return scopes[-2].removeprefix(_MODEL_PREFIX) if len(scopes) > 1 else ""
    return ""


def without_traces(model: onnx.ModelProto) -> None:
    """Take out what the exporter noted for debugging: modules, source lines with local paths, inferred shapes."""
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for initializer in model.graph.initializer:
        initializer.ClearField("metadata_props")
        initializer.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output):
        value.ClearField("metadata_props")
    for field in ("value_info", "metadata_props", "doc_string", "quantization_annotation"):
        model.graph.ClearField(field)
    model.ClearField("metadata_props")


def without_dead_parts(graph: onnx.GraphProto) -> None:
    """Take out nodes and initializers that no output depends on."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    kept.reverse()
    del graph.node[:]
    graph.node.extend(kept)
    initializers = [initializer for initializer in graph.initializer if initializer.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(initializers)


def _rename_initializers(graph: onnx.GraphProto) -> None:
    names = {entry.name: entry.name.removeprefix(_MODEL_PREFIX) for entry in graph.initializer}
    for initializer in graph.initializer:
        initializer.name = names[initializer.name]
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name, name)


def _name_dimensions(graph: onnx.GraphProto) -> None:
    """All inputs are [batch, length]; the exporter counts the mask's batch as a dimension of its own."""
    renamed: dict[str, str] = {}
    for value in graph.input:
        for dimension, name in zip(value.type.tensor_type.shape.dim, (BATCH, LENGTH), strict=True):
            renamed[dimension.dim_param] = name
            dimension.dim_param = name
    for value in graph.output:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = renamed.get(dimension.dim_param, dimension.dim_param)


@contextmanager
def _eager_attention(model: Any) -> Iterator[None]:
    """Attention as two products and a softmax, the form that runtimes know how to fuse; put back afterwards."""
    before = getattr(model.config, "_attn_implementation", None)
    can_choose = before is not None and before != "eager" and model._can_set_attn_implementation()
    if can_choose:
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        if can_choose:
            model.set_attn_implementation(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's own messages, which are about packages and internals that nobody here uses."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
