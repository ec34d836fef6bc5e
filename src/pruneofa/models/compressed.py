"""Compressed files of models of transformers: write one, load one, whichever tool saved the model."""

import copy
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pruneofa.architectures.linears import encoder_linears, pooler_linears
from pruneofa.checkpoint.layout import FORMS
from pruneofa.checkpoint.manifest import read_manifest
from pruneofa.checkpoint.model_folder import ModelFolder
from pruneofa.checkpoint.writer import CompressionSummary, Progress, compress
from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.models.loading import load_config, model_class
from pruneofa.models.opened import CompressedFile, without_weights
from pruneofa.models.saving import save_model
from pruneofa.quantization.parameters import QuantizedState
from pruneofa.quantization.qat import check_fits, convert, is_prepared, state_of
from pruneofa.sparsity.ownership import mend_zeros

__all__ = ["compress_model", "load_compressed", "save_compressed", "weight_names"]


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


def save_compressed(
    model: Any,
    path: str | Path,
    *,
    tokenizer: Any = None,
    form: str = "bitmask",
    int8: bool = False,
    quantization: QuantizedState | Literal["found"] | None = "found",
) -> CompressionSummary:
    """Write a model of transformers into one small file, from which `load_compressed` gives one that computes the same.

    Args:
        model: a model with a `save_pretrained`; it stays as it is, but for zeros that its pruner or lock promises and
            that something has overwritten: these are put back.
        path: the file to write, usually `*.pofa`.
        tokenizer: goes into the file too.
        form: "bitmask" (fast to load) or "packed" (smallest).
        int8: round encoder weights that have no int8 scale yet, one scale per row (lossy).
        quantization: what `convert` returned. By default that of the model itself, or of a prepared model
            (`prepare_qat`, `load_compressed`) what `convert` would return. None: the weights as floats, as they are.

    Raises:
        ConfigurationError: an unknown form; a model that is prepared for quantization and not ready to be converted;
            one whose weights have changed since it was converted.
        CheckpointError: the weights don't lie on the grids of `quantization`, or the file can't be written.
    """
    if form not in FORMS:
        raise ConfigurationError(f"form is {form!r}, allowed is {' or '.join(map(repr, FORMS))}")
    mend_zeros(model, f"saving {path}")
    if is_prepared(model):
        if quantization != "found":
            raise ConfigurationError(
                "quantization is given, but the model is prepared for quantization and not converted; leave it out, or "
                "call convert(model) first"
            )
        model = copy.deepcopy(model)
        state: QuantizedState | None = convert(model)
    else:
        state = state_of(model) if quantization == "found" else quantization
        if state is not None:
            check_fits(model, state)
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, tokenizer, Path(folder), stage="save_compressed", quantized=state)
        return compress(folder, path, form=form, int8=int8)


def load_compressed(path: str | Path, auto_class: Any = None) -> Any:
    """The model in a compressed file: the very weights that were saved; int8 ones compute in fake-quantized form.

    Args:
        path: a file of `save_compressed` or `pruneofa compress`.
        auto_class: a class of transformers with `from_pretrained` (default: the architecture that was saved).

    Raises:
        CheckpointError: the file is damaged.
    """
    opened = CompressedFile(path)
    return opened.model(auto_class or model_class(opened.config()))


def weight_names(model_dir: str) -> tuple[list[str], list[str]]:
    """Names of the encoder's and the pooler's Linear weights in a folder that carries no manifest.

    The architecture is built from config.json without memory for its weights. The file may have its encoder under the
    name that it has in a model with a head, or without it, whatever the config's `architectures` says; transformers
    loads both.
    """
    config = load_config(model_dir)
    model = without_weights(model_class(config), config)
    held, prefix = ModelFolder(model_dir).names, f"{model.base_model_prefix}."

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
