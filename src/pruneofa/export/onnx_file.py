"""Read an ONNX file that may be damaged or hostile: its graph, and its constant tensors one at a time."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from pruneofa.checkpoint.dtypes import DTYPES_BY_NAME, DType
from pruneofa.checkpoint.safetensors_file import check_shape
from pruneofa.errors import CheckpointError

__all__ = ["MAX_BYTES", "constant_tensors", "dtype_of", "read_onnx", "tensor_bytes", "tensor_values"]

MAX_BYTES = 2**31 - 1
"""The largest protocol buffer, and so the largest ONNX file that holds its own weights."""

_T = onnx.TensorProto
_DTYPES: dict[int, str] = {
    _T.FLOAT: "float32",
    _T.FLOAT16: "float16",
    _T.BFLOAT16: "bfloat16",
    _T.DOUBLE: "float64",
    _T.INT8: "int8",
    _T.UINT8: "uint8",
    _T.INT16: "int16",
    _T.UINT16: "uint16",
    _T.INT32: "int32",
    _T.UINT32: "uint32",
    _T.INT64: "int64",
    _T.UINT64: "uint64",
    _T.BOOL: "bool",
    _T.FLOAT8E4M3FN: "float8_e4m3",
    _T.FLOAT8E5M2: "float8_e5m2",
    _T.COMPLEX64: "complex64",
}
# Where a tensor's values lie when they are not raw bytes; all other types are in int32_data.
_FIELDS: dict[int, str] = {
    _T.FLOAT: "float_data",
    _T.COMPLEX64: "float_data",
    _T.DOUBLE: "double_data",
    _T.INT64: "int64_data",
    _T.UINT32: "uint64_data",
    _T.UINT64: "uint64_data",
}


def read_onnx(path: str | Path) -> onnx.ModelProto:
    """Parse an ONNX file; its tensors are checked when they are read.

    Raises:
        CheckpointError: Missing, too large, or no ONNX file.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise CheckpointError(f"{path}: has {size} bytes, an ONNX file has at most {MAX_BYTES}; it is none")
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); check that the file is there") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise CheckpointError(
            f"{path}: not an ONNX file, or damaged; export the model or copy the file again"
        ) from None
    if not model.HasField("graph") or not model.graph.node:
        raise CheckpointError(f"{path}: holds no ONNX graph: damaged, or no ONNX file; export the model again")
    _check_texts(model, str(path))
    return model


def constant_tensors(model: onnx.ModelProto, where: str) -> dict[str, onnx.TensorProto]:
    """The constant tensors of the main graph by name: initializers, and the values of Constant nodes.

    Raises:
        CheckpointError: A name occurs twice.
    """
    found = [(tensor.name, tensor) for tensor in model.graph.initializer]
    for node in model.graph.node:
        if node.op_type == "Constant" and len(node.output) == 1:
            found += [(node.output[0], attribute.t) for attribute in node.attribute if attribute.name == "value"]
    result: dict[str, onnx.TensorProto] = {}
    for name, tensor in found:
        if name in result:
            raise CheckpointError(f"{where}: two constant tensors are named {name[:200]!r}; export the model again")
        result[name] = tensor
    return result


def dtype_of(tensor: onnx.TensorProto, name: str, where: str) -> DType:
    """The element type of a tensor.

    Raises:
        CheckpointError: It is text, packed 4-bit numbers, or unknown.
    """
    known = _DTYPES.get(tensor.data_type)
    if known is None:
        raise CheckpointError(
            f"{where}: tensor {name[:200]!r} has the ONNX type {tensor.data_type}, which is not supported; supported "
            f"are {', '.join(sorted(_DTYPES.values()))}"
        )
    return DTYPES_BY_NAME[known]


def tensor_bytes(tensor: onnx.TensorProto, name: str, where: str) -> int:
    """Bytes that the values of a tensor have, by its type and its checked shape.

    Raises:
        CheckpointError: An unknown type, or no shape.
    """
    return math.prod(_shape(tensor, name, where)) * dtype_of(tensor, name, where).itemsize


def tensor_values(tensor: onnx.TensorProto, name: str, where: str) -> NDArray[Any]:
    """The values of a tensor, as a new array of its `DType.storage`.

    Raises:
        CheckpointError: They lie in another file, are of a type that is not supported, or do not fit the shape.
    """
    shape, dtype = _shape(tensor, name, where), dtype_of(tensor, name, where)
    if tensor.data_location == _T.EXTERNAL:
        raise CheckpointError(
            f"{where}: the values of {name[:200]!r} lie in another file; write one file with all of it: "
            "onnx.save(onnx.load(PATH), NEW_PATH)"
        )
    size = math.prod(shape)
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != size * dtype.itemsize:
            raise _misfit(where, name, shape, len(tensor.raw_data), size * dtype.itemsize, "bytes")
        return np.frombuffer(tensor.raw_data, dtype=dtype.storage).reshape(shape).copy()
    items = getattr(tensor, _FIELDS.get(tensor.data_type, "int32_data"))
    each = 2 if tensor.data_type == _T.COMPLEX64 else 1
    if len(items) != size * each:
        raise _misfit(where, name, shape, len(items), size * each, "values")
    if each == 2:
        return np.array(items, dtype="<f4").view(dtype.storage).reshape(shape)
    wide = np.array(items, dtype=np.uint64 if tensor.data_type in (_T.UINT32, _T.UINT64) else None)
    if wide.size == 0:
        return np.zeros(shape, dtype=dtype.storage)
    if tensor.data_type == _T.FLOAT16:  # stored as the bits
        return wide.astype("<u2").view(dtype.storage).reshape(shape)
    return wide.astype(dtype.storage).reshape(shape)


def _check_texts(model: onnx.ModelProto, where: str) -> None:
    """Refuse names that are no text: the parser gives bytes that are not UTF-8 as `bytes`."""
    graph = model.graph
    texts = [text for entry in model.metadata_props for text in (entry.key, entry.value)]
    texts += [tensor.name for tensor in graph.initializer]
    for node in graph.node:
        texts += [node.name, node.op_type, *node.input, *node.output]
    for text in texts:
        if not isinstance(text, str):
            raise CheckpointError(
                f"{where}: the name {text!r:.80} is not UTF-8 text: the file is damaged; copy or export it again"
            )


def _shape(tensor: onnx.TensorProto, name: str, where: str) -> tuple[int, ...]:
    shape = check_shape(list(tensor.dims))
    if shape is None:
        raise CheckpointError(
            f"{where}: tensor {name[:200]!r} has the dimensions {list(tensor.dims)!r:.120}, which are no shape or too "
            "large; do not trust this file"
        )
    return shape


def _misfit(where: str, name: str, shape: tuple[int, ...], found: int, needed: int, unit: str) -> CheckpointError:
    return CheckpointError(
        f"{where}: tensor {name[:200]!r} of shape {list(shape)} has {found} {unit}, {needed} are needed; the file is "
        "damaged, copy or export it again"
    )
