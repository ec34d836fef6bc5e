"""`pruneofa.json`, the manifest of a saved model: which weights were pruned, how far, and how it was quantized."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pruneofa import atomic
from pruneofa.checkpoint.strict_json import normalised_json, parse_json
from pruneofa.errors import CheckpointError

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST_NAME",
    "Manifest",
    "manifest_text",
    "parse_manifest",
    "read_manifest",
    "write_manifest",
]

MANIFEST_NAME = "pruneofa.json"
FORMAT_VERSION = 1
MAX_MANIFEST_BYTES = 16 * 2**20
WEIGHT_GRANULARITIES = ("per_channel", "per_tensor")


@dataclass(frozen=True)
class Manifest:
    """What this package knows about a saved model beyond its `config.json`. Checked when it is made.

    Attributes:
        stage: The stage that wrote the model, e.g. `"prune"`.
        encoder_weights: Names of all Linear weights inside the transformer layers, as in the weight file; no pooler.
        pooler_weights: Names of the pooler's Linear weights.
        sparsity: For each pruned tensor `{"size": elements, "zeros": +0.0 elements, "target": asked share or None}`.
        quantization: None, or an object with `weight_granularity` ("per_channel" or "per_tensor"), `bits` (8),
            `activation` (an object or None), and whatever else the quantizer wants to keep.
        extra: Free JSON object: base model, recipe name and so on.
        format_version: Version of this file's form; 1.

    Raises:
        CheckpointError: A field has a wrong type or value; the text names the field, the value and what is allowed.
    """

    stage: str
    encoder_weights: tuple[str, ...]
    pooler_weights: tuple[str, ...] = ()
    sparsity: dict[str, dict[str, Any]] = field(default_factory=dict)
    quantization: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if type(self.format_version) is not int or self.format_version != FORMAT_VERSION:
            raise _fault("format_version", self.format_version, f"{FORMAT_VERSION}; a newer pruneofa may read it")
        if not isinstance(self.stage, str) or not self.stage:
            raise _fault("stage", self.stage, "a non-empty text")
        for name in ("encoder_weights", "pooler_weights"):
            object.__setattr__(self, name, _names(name, getattr(self, name)))
        doubled = sorted(set(self.encoder_weights) & set(self.pooler_weights))
        if doubled:
            raise _fault("pooler_weights", doubled[0], "a name that encoder_weights does not hold too")
        object.__setattr__(self, "sparsity", _sparsity(self.sparsity))
        if self.quantization is not None:
            object.__setattr__(self, "quantization", _quantization(self.quantization))
        if not isinstance(self.extra, Mapping):
            raise _fault("extra", self.extra, "a JSON object")
        object.__setattr__(self, "extra", normalised_json(dict(self.extra), "manifest field 'extra'"))

    def as_dict(self) -> dict[str, Any]:
        """The JSON object that the file holds."""
        return {
            "format_version": self.format_version,
            "stage": self.stage,
            "encoder_weights": list(self.encoder_weights),
            "pooler_weights": list(self.pooler_weights),
            "sparsity": self.sparsity,
            "quantization": self.quantization,
            "extra": self.extra,
        }


def manifest_text(manifest: Manifest) -> str:
    """The exact text that `write_manifest` writes."""
    return json.dumps(manifest.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_manifest(directory: str | Path, manifest: Manifest) -> Path:
    """Write `pruneofa.json` into `directory`, all of it or nothing, and return its path."""
    path = Path(directory) / MANIFEST_NAME
    atomic.write_text(path, manifest_text(manifest))
    return path


def read_manifest(directory: str | Path) -> Manifest | None:
    """Read `pruneofa.json` of a model folder; None where there is none.

    Raises:
        CheckpointError: The file cannot be read or is malformed; the text names the file and the field.
    """
    path = Path(directory) / MANIFEST_NAME
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}); check the file and its permissions"
        ) from None
    return parse_manifest(parse_json(data, str(path), MAX_MANIFEST_BYTES), str(path))


def parse_manifest(value: Any, where: str) -> Manifest:
    """Make a Manifest from parsed JSON that must hold all of its fields and no other.

    Raises:
        CheckpointError: Something is missing, unknown or wrong; the text starts with `where`.
    """
    names = [item.name for item in fields(Manifest)]
    if not isinstance(value, dict):
        raise CheckpointError(f"{where}: holds {type(value).__name__}, a JSON object is needed; write the model again")
    # The version comes first: a newer file may have other fields, and "unknown field" would mislead.
    if "format_version" in value and value["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{where}: format_version is {value['format_version']!r}, this pruneofa reads {FORMAT_VERSION}; "
            "use the version of pruneofa that wrote it, or a newer one"
        )
    for problem, found in (("missing", set(names) - set(value)), ("unknown", set(value) - set(names))):
        if found:
            raise CheckpointError(
                f"{where}: {problem} field {', '.join(map(repr, sorted(found)[:5]))}; exactly {', '.join(names)} are "
                "allowed; write the model again"
            )
    for name in ("encoder_weights", "pooler_weights"):
        if not isinstance(value[name], list):
            raise CheckpointError(f"{where}: {name} is {value[name]!r:.80}, allowed is a list of tensor names")
    try:
        return Manifest(**value)
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {error}") from None


def _fault(name: str, value: Any, allowed: str) -> CheckpointError:
    return CheckpointError(f"manifest field {name!r} is {value!r:.120}, allowed is {allowed}")


def _names(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, tuple | list):
        raise _fault(name, value, "a tuple of tensor names")
    for item in value:
        if not isinstance(item, str) or not item:
            raise _fault(name, item, "a non-empty tensor name")
    if len(set(value)) != len(value):
        raise _fault(name, next(item for item in value if list(value).count(item) > 1), "each name only once")
    return tuple(value)


def _sparsity(value: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(value, Mapping):
        raise _fault("sparsity", value, "an object of tensor name -> {size, zeros, target}")
    for name, entry in value.items():
        where = f"sparsity.{name}"
        if not isinstance(name, str) or not isinstance(entry, Mapping) or set(entry) != {"size", "zeros", "target"}:
            raise _fault(where, entry, "an object with exactly size, zeros, target")
        size, zeros, target = entry["size"], entry["zeros"], entry["target"]
        if type(size) is not int or size < 0:
            raise _fault(f"{where}.size", size, "a whole number from 0")
        if type(zeros) is not int or not 0 <= zeros <= size:
            raise _fault(f"{where}.zeros", zeros, f"a whole number from 0 to size ({size})")
        is_number = isinstance(target, int | float) and not isinstance(target, bool)
        if target is not None and not (is_number and 0.0 <= target <= 1.0):
            raise _fault(f"{where}.target", target, "a number from 0 to 1, or null")
    return {name: {key: entry[key] for key in ("size", "zeros", "target")} for name, entry in value.items()}


def _quantization(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _fault("quantization", value, "null or an object with weight_granularity, bits, activation")
    for name in ("weight_granularity", "bits", "activation"):
        if name not in value:
            raise _fault("quantization", dict(value), f"an object that holds {name!r} too")
    if value["weight_granularity"] not in WEIGHT_GRANULARITIES:
        raise _fault("quantization.weight_granularity", value["weight_granularity"], " or ".join(WEIGHT_GRANULARITIES))
    if type(value["bits"]) is not int or value["bits"] != 8:
        raise _fault("quantization.bits", value["bits"], "8")
    if value["activation"] is not None and not isinstance(value["activation"], Mapping):
        raise _fault("quantization.activation", value["activation"], "an object, or null for float activations")
    result = normalised_json(dict(value), "manifest field 'quantization'")
    assert isinstance(result, dict)
    return result
