"""The grids of a quantized model, read from `quantization.safetensors` without torch."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.safetensors_file import SafetensorsBytes
from pruneofa.checkpoint.strict_json import parse_json
from pruneofa.errors import CheckpointError

__all__ = ["Grid", "ModuleGrids", "QuantizedGrids", "read_grids"]

FORMAT = "pruneofa-quantization"
FORMAT_VERSIONS = ("1", "2")
MAX_CONFIG_BYTES = 2**20
SMALLEST_SCALE = 2.0**-60

Grid = tuple[float, int]
"""Scale and zero point of a uint8 grid."""


@dataclass
class ModuleGrids:
    """The grids of one module; a table has `weight_scale` alone.

    Attributes:
        weight_scale: float32 [R] or [1].
        input: Grid of a Linear's input; None where it computes in float.
        output: Grid of its output; None where that stays in float.
    """

    weight_scale: NDArray[np.float32]
    input: Grid | None = None
    output: Grid | None = None


@dataclass
class QuantizedGrids:
    """All grids by module name, and whether attention multiplies integers."""

    modules: dict[str, ModuleGrids] = field(default_factory=dict)
    attention_products: bool = False


def read_grids(content: bytes, where: str) -> QuantizedGrids:
    """Read the file's bytes strictly.

    Raises:
        CheckpointError: Damaged, of another format, or with a value that is out of range.
    """
    file = SafetensorsBytes(content, where)
    result = QuantizedGrids(attention_products=_attention_products(file.metadata, where))
    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name in file.tensors:
        module, _, kind = name.rpartition(".")
        if kind in ("weight_scale", "input_scale", "output_scale"):
            found.setdefault(module, {})[kind] = _scales(file, name, where)
        elif kind in ("input_zero_point", "output_zero_point"):
            found.setdefault(module, {})[kind] = _zero_point(file, name, where)
        elif kind != "weight_kept_zeros":
            raise CheckpointError(f"{where}: unknown tensor {name[:200]!r}; quantize the model again")
    for module, parts in found.items():
        if "weight_scale" not in parts:
            raise CheckpointError(f"{where}: {module!r} has no weight_scale; quantize the model again")
        grids = ModuleGrids(parts["weight_scale"])
        grids.input = _grid(parts, "input", module, where)
        grids.output = _grid(parts, "output", module, where)
        if grids.output is not None and grids.input is None:
            raise CheckpointError(f"{where}: {module!r} has an output grid and no input grid; quantize the model again")
        result.modules[module] = grids
    return result


def _attention_products(metadata: dict[str, str], where: str) -> bool:
    if "format" not in metadata:
        return False  # scales of weights alone, as `compress --int8` writes them
    if metadata["format"] != FORMAT or metadata.get("format_version") not in FORMAT_VERSIONS:
        raise CheckpointError(
            f"{where}: is {metadata['format']!r:.60} version {metadata.get('format_version')!r:.20}, this release "
            f"reads {FORMAT!r} versions {', '.join(FORMAT_VERSIONS)}"
        )
    config = parse_json(metadata.get("config", "").encode(), f"{where}: config", MAX_CONFIG_BYTES)
    value = config.get("attention_products", False) if isinstance(config, dict) else None
    if not isinstance(value, bool):
        raise CheckpointError(f"{where}: config: attention_products is {value!r:.40}, allowed is true or false")
    return value


def _scales(file: SafetensorsBytes, name: str, where: str) -> NDArray[np.float32]:
    tensor = file.tensors[name]
    if tensor.dtype.name != "float32" or len(tensor.shape) != 1 or tensor.size < 1:
        raise CheckpointError(
            f"{where}: {name!r} is {tensor.dtype.name} {list(tensor.shape)}, float32 of one dimension is needed"
        )
    values: NDArray[np.float32] = file.read(name)
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise CheckpointError(f"{where}: {name!r} holds a value that is not finite and above 0")
    return values


def _zero_point(file: SafetensorsBytes, name: str, where: str) -> NDArray[np.float32]:
    tensor = file.tensors[name]
    if tensor.dtype.name != "uint8" or tensor.shape != (1,):
        raise CheckpointError(f"{where}: {name!r} is {tensor.dtype.name} {list(tensor.shape)}, uint8 [1] is needed")
    return file.read(name).astype(np.float32)


def _grid(parts: dict[str, NDArray[np.float32]], side: str, module: str, where: str) -> Grid | None:
    scale, zero_point = parts.get(f"{side}_scale"), parts.get(f"{side}_zero_point")
    if scale is None and zero_point is None:
        return None
    if scale is None or zero_point is None or scale.shape != (1,):
        raise CheckpointError(
            f"{where}: {module!r} needs {side}_scale [1] and {side}_zero_point [1]; quantize the model again"
        )
    if float(scale[0]) < SMALLEST_SCALE or not math.isfinite(1.0 / float(scale[0])):
        raise CheckpointError(f"{where}: {side}_scale of {module!r} is {float(scale[0])}, allowed is 2^-60 and more")
    return float(scale[0]), int(zero_point[0])
