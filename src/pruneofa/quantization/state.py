"""`quantization.safetensors`: scales and zero points, stored beside a model whose weights lie on the integer grid.

For each quantized Linear M: `M.weight_scale` float32 [R] or [1], `M.input_scale` float32 [1], `M.input_zero_point`
uint8 [1]; where outputs are quantized, `M.output_scale` float32 [1] and `M.output_zero_point` uint8 [1]; where weights
of the pattern have level 0, `M.weight_kept_zeros` int32 [n]. For an embedding table E `E.weight_scale` alone. Metadata:
`format`, `format_version`, `config` (the QuantizationConfig as JSON). docs/quantization.md has the whole.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pruneofa.atomic import replacing_file
from pruneofa.checkpoint.model_folder import QUANTIZATION_NAME, read_beside
from pruneofa.checkpoint.safetensors_file import SafetensorsBytes
from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.quantization.checks import check_kept_zeros
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.parameters import EmbeddingParameters, LinearParameters, QuantizedState

__all__ = [
    "FILE_NAME",
    "FORMAT_VERSION",
    "QuantizedState",
    "computes_in_int8",
    "keep_pattern",
    "load_quantization",
    "parse_quantization",
    "restore_pattern",
    "save_quantization",
]

FILE_NAME = QUANTIZATION_NAME
"""Name of the file in a model's folder."""

MAX_BYTES = 2**30
"""The largest file that is read from a folder; a compressed file embeds far smaller ones."""

FORMAT = "pruneofa-quantization"
"""What the file's metadata says that it is."""

FORMAT_VERSION = "2"
"""Version of the file's layout that is written."""

READABLE_VERSIONS = ("1", "2")
"""Version 1 is version 2 without embedding tables and `weight_kept_zeros`."""

_TYPES = {
    "weight_scale": "F32",
    "input_scale": "F32",
    "input_zero_point": "U8",
    "output_scale": "F32",
    "output_zero_point": "U8",
    "weight_kept_zeros": "I32",
}
_REQUIRED = ("weight_scale", "input_scale", "input_zero_point")
_OUTPUT = ("output_scale", "output_zero_point")


def save_quantization(state: QuantizedState, directory: str | Path) -> Path:
    """Write `state` to `directory`/quantization.safetensors, all of it or nothing; return the file's path."""
    tensors: dict[str, Tensor] = {}
    for name, parameters in state.modules.items():
        for field in _TYPES:
            tensor = getattr(parameters, field)
            if tensor is not None:
                tensors[f"{name}.{field}"] = tensor.detach().cpu().contiguous()
    for name, table in state.embeddings.items():
        tensors[f"{name}.weight_scale"] = table.weight_scale.detach().cpu().contiguous()
    metadata = {"format": FORMAT, "format_version": FORMAT_VERSION, "config": state.config.model_dump_json()}
    path = Path(directory) / FILE_NAME
    with replacing_file(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)
    return path


def load_quantization(directory: str | Path) -> QuantizedState:
    """Read `directory`/quantization.safetensors, strictly.

    Raises:
        CheckpointError: If the file is missing, or as `parse_quantization`.
    """
    path = Path(directory) / FILE_NAME
    content = read_beside(Path(directory), FILE_NAME, MAX_BYTES)
    if content is None:
        raise CheckpointError(f"{path} is missing; give the folder of a model that was quantized and saved")
    return parse_quantization(content, str(path))


def parse_quantization(content: bytes, where: str) -> QuantizedState:
    """Read the bytes of a quantization.safetensors, strictly.

    Args:
        content: The file's bytes.
        where: What to call it in error messages.

    Raises:
        CheckpointError: If it is damaged, of another format or version, has an unknown or a missing tensor, a wrong
            shape or type, or a scale that isn't finite and positive.
    """
    file = _open(content, where)
    config = _config(where, file.metadata)
    grouped: dict[str, dict[str, Tensor]] = {}
    for key in file.tensors:
        module, _, field = key.rpartition(".")
        grouped.setdefault(module, {})[field] = _entry(where, file, key)
    if not grouped:
        raise CheckpointError(f"{where} holds no quantized module")
    tables = {module: found for module, found in grouped.items() if set(found) == {"weight_scale"}}
    if tables and config.embeddings == "float":
        table = next(iter(tables))
        raise CheckpointError(
            f"{where}: {table!r} lacks input_scale, input_zero_point, and the config says that embeddings are float; "
            "save the model anew"
        )
    modules = {
        module: _parameters(where, module, found, config) for module, found in grouped.items() if module not in tables
    }
    if not modules:
        raise CheckpointError(f"{where} holds no quantized Linear")
    for table, found in tables.items():
        _check_rows(where, f"{table}.weight_scale", found["weight_scale"], config.embeddings == "per_row")
    return QuantizedState(
        config, modules, {table: EmbeddingParameters(found["weight_scale"]) for table, found in tables.items()}
    )


def computes_in_int8(content: bytes, where: str) -> bool:
    """Whether the model beside these bytes of a quantization.safetensors computes in int8: it has activations' grids.

    `pruneofa compress --int8` writes scales of weights alone, without this format's metadata: such a model computes in
    float, on rounded weights.

    Raises:
        CheckpointError: If the bytes are no safetensors file.
    """
    return bool(_open(content, where).metadata)


def restore_pattern(model: nn.Module, directory: str | Path) -> int:
    """Tell the plain Linear layers of a model which of their zeros the sparse pattern keeps (`kept_zeros`).

    For a model that was loaded in float from a quantized model's folder, to be trained on: `lock_pattern` and
    `prepare_qat` heed it. Modules that `model` has not are passed over: it may have another head.

    Args:
        model: Loaded from the folder.
        directory: The folder; nothing happens where it holds no quantization.safetensors, or one without the pattern.

    Returns:
        How many zeros are kept.

    Raises:
        CheckpointError: If the file is damaged, or names a weight that isn't 0 or not there.
    """
    content = read_beside(Path(directory), FILE_NAME, MAX_BYTES)
    return 0 if content is None else keep_pattern(model, content, str(Path(directory) / FILE_NAME))


def keep_pattern(model: nn.Module, content: bytes, where: str) -> int:
    """As `restore_pattern`, from the bytes of a quantization.safetensors."""
    ending = ".weight_kept_zeros"
    file = _open(content, where)
    found = {key.removesuffix(ending): _entry(where, file, key) for key in file.tensors if key.endswith(ending)}
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for name, kept in found.items():
        if name in linears:
            check_kept_zeros(name, linears[name].weight, kept)
            linears[name].kept_zeros = kept
    return sum(kept.numel() for name, kept in found.items() if name in linears)


def _open(content: bytes, where: str) -> SafetensorsBytes:
    try:
        return SafetensorsBytes(content, where)
    except CheckpointError as error:
        raise CheckpointError(f"{where} can't be read as safetensors: {error}; save the model anew") from error


def _config(where: str, metadata: dict[str, str]) -> QuantizationConfig:
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{where}: format is {metadata.get('format')!r}, expected {FORMAT!r}")
    if metadata.get("format_version") not in READABLE_VERSIONS:
        raise CheckpointError(
            f"{where}: format_version is {metadata.get('format_version')!r}, this release reads "
            f"{' and '.join(map(repr, READABLE_VERSIONS))}"
        )
    try:
        return QuantizationConfig.model_validate_json(metadata.get("config", ""))
    except ConfigurationError as error:
        raise CheckpointError(f"{where}: config in the metadata is invalid: {error}") from error


def _entry(where: str, file: SafetensorsBytes, key: str) -> Tensor:
    """The checked tensor of `key`; type and shape are looked at before its bytes are."""
    module, _, field = key.rpartition(".")
    if field not in _TYPES or not module:
        raise CheckpointError(f"{where}: unknown tensor {key!r}; known endings are {', '.join(_TYPES)}")
    shape, kind = list(file.tensors[key].shape), file.tensors[key].dtype.code
    if kind != _TYPES[field]:
        raise CheckpointError(f"{where}: {key} has type {kind}, expected {_TYPES[field]}")
    of_any_length = field in ("weight_scale", "weight_kept_zeros")
    if (len(shape) != 1 or shape[0] < 1) if of_any_length else shape != [1]:
        raise CheckpointError(f"{where}: {key} has shape {shape}, expected {'[n]' if of_any_length else '[1]'}")
    tensor = torch.from_numpy(file.read(key))
    if kind == "F32" and not bool((torch.isfinite(tensor) & (tensor > 0)).all()):
        raise CheckpointError(f"{where}: {key} has a value that isn't finite and positive")
    if field == "weight_kept_zeros" and not bool((tensor[0] >= 0) & (tensor[1:] > tensor[:-1]).all()):
        raise CheckpointError(f"{where}: {key} isn't a list of ascending indices from 0")
    return tensor


def _parameters(where: str, module: str, found: dict[str, Tensor], config: QuantizationConfig) -> LinearParameters:
    required = _REQUIRED + (_OUTPUT if any(field in found for field in _OUTPUT) else ())
    missing = [field for field in required if field not in found]
    if missing:
        raise CheckpointError(f"{where}: {module!r} lacks {', '.join(missing)}; save the model anew")
    _check_rows(where, f"{module}.weight_scale", found["weight_scale"], config.weight_granularity == "per_channel")
    return LinearParameters(**found)


def _check_rows(where: str, key: str, scale: Tensor, per_row: bool) -> None:
    if not per_row and scale.numel() != 1:
        raise CheckpointError(f"{where}: {key} has shape {list(scale.shape)}, expected [1]")
