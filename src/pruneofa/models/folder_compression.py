"""A model folder into a compressed file, whichever tool saved it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruneofa.architectures.families import Family, find_family
from pruneofa.checkpoint.encoder_place import CONFIG_NAME
from pruneofa.checkpoint.manifest import read_manifest
from pruneofa.checkpoint.model_folder import ModelFolder, read_beside
from pruneofa.checkpoint.strict_json import parse_json
from pruneofa.checkpoint.writer import CompressionSummary, Progress, compress
from pruneofa.errors import CheckpointError

__all__ = ["compress_model", "weight_names"]

_MAX_CONFIG_BYTES = 2**24


def compress_model(
    model_dir: str, output: str, *, form: str = "bitmask", int8: bool = False, progress: Progress | None = None
) -> CompressionSummary:
    """Write the compressed file of a model folder, whichever tool saved it; see `checkpoint.writer.compress`.

    Raises:
        CheckpointError: there is no such folder, or it holds no intact model.
    """
    if not Path(model_dir).is_dir():  # without a manifest the names come from its config, which the hub may have too
        raise CheckpointError(f"{model_dir}: no such folder; give the folder of a model, with its config.json")
    if read_manifest(model_dir) is not None:
        return compress(model_dir, output, form=form, int8=int8, progress=progress)
    encoder, pooler = weight_names(model_dir)
    return compress(
        model_dir, output, form=form, int8=int8, encoder_weights=encoder, pooler_weights=pooler, progress=progress
    )


def weight_names(model_dir: str) -> tuple[list[str], list[str]]:
    """Names of the encoder's and the pooler's Linear weights in a folder that carries no manifest.

    Of registered families they are known (`architectures.families`); other architectures, and what differs from its
    family, are built from config.json by transformers, without memory for the weights. The file may have its encoder
    under the name that it has in a model with a head, or without it, whatever the config's `architectures` says;
    transformers loads both.
    """
    folder = ModelFolder(model_dir)
    return _by_family(folder) or _by_architecture(model_dir, folder)


def _by_family(folder: ModelFolder) -> tuple[list[str], list[str]] | None:
    """The names, by the family's table alone; None where the file is not just as the table says."""
    content = read_beside(folder.encoder_path, CONFIG_NAME, _MAX_CONFIG_BYTES)
    config = {} if content is None else parse_json(content, f"{folder.path}: {CONFIG_NAME}", _MAX_CONFIG_BYTES)
    family = find_family(config.get("model_type")) if isinstance(config, dict) else None
    if family is None:
        return None
    layers = config.get(family.layers_key)
    held = frozenset(folder.names)
    # Published heads keep the encoder below its prefix; a bare encoder's own names have none.
    bases = [base for base in (f"{family.prefix}.", "") if any(_starts(family, base, name) for name in held)]
    if type(layers) is not int or layers < 1 or len(bases) != 1:
        return None
    stack = bases[0] + family.layer.partition("{}")[0]
    endings = [ending for ending, role in family.roles.items() if role != "pooler"]
    encoder = [
        f"{bases[0]}{family.layer.format(number)}.{ending}.weight" for number in range(layers) for ending in endings
    ]
    norms = (f".{family.attention_norm}.weight", f".{family.output_norm}.weight")
    weights = {
        name for name in held if name.startswith(stack) and name.endswith(".weight") and not name.endswith(norms)
    }
    if weights != set(encoder):
        return None
    pooler = [f"{bases[0]}{ending}.weight" for ending, role in family.roles.items() if role == "pooler"]
    return encoder, [name for name in pooler if name in held]


def _starts(family: Family, base: str, name: str) -> bool:
    return name.startswith(base + family.layer.partition("{}")[0])


def _by_architecture(model_dir: str, folder: ModelFolder) -> tuple[list[str], list[str]]:
    from pruneofa.architectures.linears import encoder_linears, pooler_linears
    from pruneofa.models.loading import load_config, model_class
    from pruneofa.models.opened import without_weights

    config = load_config(model_dir)
    model = without_weights(model_class(config), config)
    held, prefix = folder.names, f"{model.base_model_prefix}."

    def in_file(linears: Mapping[str, Any]) -> list[str]:
        found = []
        for module in linears:
            name = f"{module}.weight"
            spellings = (name, prefix + name, name.removeprefix(prefix))
            found.append(next((spelling for spelling in spellings if spelling in held), name))
        return found

    encoder, pooler = in_file(encoder_linears(model)), in_file(pooler_linears(model))
    if model.base_model is model:  # a bare encoder that the file may have without its pooler, below a head
        pooler = [name for name in pooler if name in held]
    return encoder, pooler
