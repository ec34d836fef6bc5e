"""From a model of transformers, float or int8, to one checked ONNX file."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from pruneofa import __version__
from pruneofa.architectures.linears import encoder_linears, pooler_linears
from pruneofa.atomic import replacing_file
from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.export.float_graph import float_graph, without_dead_parts, without_traces
from pruneofa.export.heads import Exportable
from pruneofa.export.linears import use_named_weights
from pruneofa.export.onnx_file import MAX_BYTES
from pruneofa.export.quantized_graph import check_state, quantize_graph
from pruneofa.export.sentences import SentenceVector
from pruneofa.export.weights import write_metadata
from pruneofa.folder.label_names import row_names
from pruneofa.quantization.parameters import QuantizedState

__all__ = ["export_onnx", "onnx_model", "onnx_variants", "write_onnx"]

logger = logging.getLogger(__name__)


def export_onnx(
    model: nn.Module,
    path: str | Path,
    state: QuantizedState | None = None,
    *,
    pooling: str | None = None,
    normalize: bool = False,
) -> Path:
    """Write a model as one ONNX file, all of it or nothing; see `onnx_model` and `write_onnx`."""
    return write_onnx(onnx_model(model, state, pooling=pooling, normalize=normalize), path)


def onnx_model(
    model: nn.Module,
    state: QuantizedState | None = None,
    *,
    pooling: str | None = None,
    normalize: bool = False,
    sentence: SentenceVector | None = None,
    token_types: bool = True,
) -> onnx.ModelProto:
    """The ONNX model of a model of transformers, checked.

    Inputs are `input_ids`, `attention_mask` and, where the model tells segments apart, `token_type_ids`, all int64
    [batch, length] of any size. Linear weights have the names that they have in the model, int8 ones too; zeros stay
    exact zeros.

    Args:
        model: A plain float32 model: a classifier of sequences or tokens, an answerer of questions, a masked language
            model, or a bare encoder.
        state: For an int8 model: its grids, as `convert` returned or `load_quantization` read them.
        pooling: One of `POOLING_MODES`, such as "mean": leave a head out and give one vector for each text,
            `sentence_embedding`.
        normalize: Scale that vector to length 1.
        sentence: As of `Exportable`.
        token_types: As of `Exportable`.

    Raises:
        ConfigurationError: The model is of a kind that can't be exported.
        CheckpointError: Weights and grids don't belong together, or what was made is not valid ONNX.
    """
    variants = onnx_variants(
        model, [state], pooling=pooling, normalize=normalize, sentence=sentence, token_types=token_types
    )
    return next(variants)


def onnx_variants(
    model: nn.Module,
    states: Sequence[QuantizedState | None],
    *,
    pooling: str | None = None,
    normalize: bool = False,
    sentence: SentenceVector | None = None,
    token_types: bool = True,
) -> Iterator[onnx.ModelProto]:
    """The same model in several schemes, from one run of torch's exporter, one at a time; as `onnx_model`.

    Args:
        model: As of `onnx_model`; of an int8 model the float form computes on the same rounded weights.
        states: The schemes; None for plain float.
        pooling: As of `onnx_model`.
        normalize: As of `onnx_model`.
        sentence: As of `Exportable`.
        token_types: As of `Exportable`.

    Raises:
        ConfigurationError, CheckpointError: As `onnx_model`.
    """
    exportable = Exportable(model, pooling, normalize, sentence=sentence, token_types=token_types)
    for state in states:
        if state is not None:
            check_state(model, state)  # an export takes long
    plain = float_graph(exportable)
    use_named_weights(plain.graph, model)
    for state in states:
        exported = plain
        if len(states) > 1:
            exported = onnx.ModelProto()
            exported.CopyFrom(plain)
        if state is not None:
            quantize_graph(exported.graph, model, state)
        without_traces(exported)
        without_dead_parts(exported.graph)
        exported.producer_name, exported.producer_version = "pruneofa", __version__
        exported.graph.name = type(model).__name__
        write_metadata(exported, _facts(exported, exportable, model, state))
        yield _checked(exported)


def write_onnx(model: onnx.ModelProto, path: str | Path) -> Path:
    """Write an ONNX model into one file, all of it or nothing, and return its path.

    Raises:
        ConfigurationError: It is too large for one file, or the path is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigurationError(
            f"{path}: is a folder; give the name of the file to write, such as {path / 'model.onnx'}"
        )
    size = model.ByteSize()
    if size > MAX_BYTES:
        raise ConfigurationError(
            f"{path}: the ONNX file would have {size} bytes, one file may have {MAX_BYTES}; quantize the model first"
        )
    with replacing_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
    return path


def _facts(
    exported: onnx.ModelProto, exportable: Exportable, model: nn.Module, state: QuantizedState | None
) -> dict[str, Any]:
    present = {initializer.name for initializer in exported.graph.initializer}
    config: Any = model.config
    facts: dict[str, Any] = {
        f"{role}_weights": [f"{name}.weight" for name in linears if f"{name}.weight" in present]
        for role, linears in (("encoder", encoder_linears(model)), ("pooler", pooler_linears(model)))
    }
    facts |= {"model_type": config.model_type, "head": exportable.head, "int8": state is not None}
    if exportable.head in ("sequence_classification", "token_classification"):
        facts["labels"] = row_names(config.id2label, config.num_labels)
    if exportable.sentence is not None:
        facts |= exportable.sentence.facts
    return facts


def _checked(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every value's type and shape inferred.

    Raises:
        CheckpointError: onnx's checker or its shape inference objects.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise CheckpointError(
            f"the exported graph is not valid ONNX: {error}; install the versions that constraints.txt names"
        ) from error
    known = {value.name for value in (*inferred.graph.value_info, *inferred.graph.output)}
    unknown = [name for node in inferred.graph.node for name in node.output if name not in known]
    if unknown:
        raise CheckpointError(f"the exported graph leaves the shape of {unknown[0]!r} open; report this")
    return inferred
