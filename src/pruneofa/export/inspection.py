"""Sparsity and bytes of an ONNX file: the same figures as of a model folder or a `.pofa` file."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from pruneofa.checkpoint.dtypes import DTYPES_BY_NAME, count_nonzero
from pruneofa.checkpoint.inspection import Inspection, TensorReport
from pruneofa.checkpoint.layout import DENSE
from pruneofa.checkpoint.packed.entropy import entropy_bits
from pruneofa.errors import CheckpointError
from pruneofa.export.onnx_file import constant_tensors, dtype_of, read_onnx, tensor_bytes, tensor_values
from pruneofa.export.weights import LinearWeight, linear_weights, read_metadata, weight_role

__all__ = ["inspect_onnx"]


def inspect_onnx(path: str | Path) -> Inspection:
    """Count zeros and bytes of an ONNX file of this or another exporter, one tensor at a time besides the file.

    The encoder's weights are the constant matrices that MatMul or Gemm multiply by (through DequantizeLinear, Transpose
    and the like) in the transformer layers: those that the file's metadata name or, without it, those whose names
    are of a numbered layer. A quantized weight's scales and zero points count in its bytes.

    Raises:
        CheckpointError: Missing, damaged or hostile, or no weight of a transformer layer is in it.
    """
    path = Path(path)
    where = str(path)
    model = read_onnx(path)
    constants = constant_tensors(model, where)
    weights = linear_weights(model, constants)
    roles = _roles(model, weights, where)
    belonging = {name for weight in weights.values() for name in (weight.scale, weight.zero_point) if name in constants}
    reports = [
        _report(name, tensor, weights.get(name), roles.get(name, "other"), constants, where)
        for name, tensor in constants.items()
        if name not in belonging
    ]
    if not any(report.role == "encoder" for report in reports):
        raise CheckpointError(
            f"{path}: no MatMul or Gemm of a numbered transformer layer has a constant weight, so there is no encoder "
            "to measure; export it with `pruneofa export`, or with the names of its modules kept"
        )
    return Inspection(path, tuple(reports), path.stat().st_size)


def _roles(model: onnx.ModelProto, weights: dict[str, LinearWeight], where: str) -> dict[str, str]:
    """Name of a weight -> its role."""
    facts = read_metadata(model, where)
    if facts is None:
        return {name: weight_role(weight) for name, weight in weights.items()}
    roles: dict[str, str] = {}
    for role in ("encoder", "pooler"):
        named = facts[f"{role}_weights"]
        assert isinstance(named, list)
        for name in named:
            if name not in weights:
                raise CheckpointError(
                    f"{where}: its metadata names the weight {name[:200]!r}, which no product of the graph multiplies "
                    "by; export the model again"
                )
            roles[name] = role
    return roles


def _report(
    name: str,
    tensor: onnx.TensorProto,
    weight: LinearWeight | None,
    role: str,
    constants: dict[str, onnx.TensorProto],
    where: str,
) -> TensorReport:
    dtype, values = dtype_of(tensor, name, where), tensor_values(tensor, name, where)
    grid_names = [] if weight is None else [n for n in (weight.scale, weight.zero_point) if n in constants]
    grid_bytes = sum(tensor_bytes(constants[key], key, where) for key in grid_names if key is not None)
    if dtype.name in ("int8", "uint8"):
        values = _centred(values, weight, constants, where)
    stored = DTYPES_BY_NAME["int8"] if dtype.itemsize == 1 else dtype
    rows, scales = _rows_and_scales(values, weight, constants, where)
    return TensorReport(
        name=name,
        shape=values.shape,
        size=values.size,
        nonzero=count_nonzero(values),
        bytes=tensor_bytes(tensor, name, where) + grid_bytes,
        encoding=DENSE,
        dtype=dtype.name,
        role=role,
        bits=8 * dtype.itemsize,
        entropy_bits=entropy_bits(rows, stored, scales),
        scale_bytes=grid_bytes,
    )


def _rows_and_scales(
    values: NDArray[Any], weight: LinearWeight | None, constants: dict[str, onnx.TensorProto], where: str
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """A quantized weight with one row for each of its scales, as `entropy_bits` takes them; no scales where it has one.

    Products multiply by columns, so a square weight's scales are taken for those of its columns.
    """
    if values.dtype.itemsize != 1 or weight is None or weight.scale not in constants:
        return values, None
    assert weight.scale is not None
    scales = tensor_values(constants[weight.scale], weight.scale, where).reshape(-1)
    if scales.size == values.shape[1]:
        return values.T, scales
    return values, scales if scales.size == values.shape[0] else None


def _centred(
    values: NDArray[Any], weight: LinearWeight | None, constants: dict[str, onnx.TensorProto], where: str
) -> NDArray[Any]:
    """8-bit levels less their zero point (modulo 256), so that 0 is what stands for zero."""
    if weight is None or weight.zero_point not in constants:
        return values
    assert weight.zero_point is not None
    zero_point = tensor_values(constants[weight.zero_point], weight.zero_point, where)
    if zero_point.dtype != values.dtype or not zero_point.any():
        return values
    if zero_point.size == 1:
        zero_point = zero_point.reshape(())
    elif zero_point.shape not in ((values.shape[0],), (values.shape[1],)):
        raise CheckpointError(
            f"{where}: zero points {weight.zero_point[:200]!r} have the shape {list(zero_point.shape)} for a weight of "
            f"shape {list(values.shape)}; export the model again"
        )
    elif zero_point.shape != (values.shape[1],):
        zero_point = zero_point[:, None]
    with np.errstate(over="ignore"):
        centred: NDArray[Any] = values - zero_point
    return centred
