"""Compressed files of models of transformers: write one, load one, whichever tool saved the model."""

import tempfile
from pathlib import Path
from typing import Any

from pruneofa.architectures.linears import encoder_linears, pooler_linears
from pruneofa.checkpoint.manifest import read_manifest
from pruneofa.checkpoint.writer import CompressionSummary, Progress, compress
from pruneofa.errors import CheckpointError
from pruneofa.models.loading import load_config, model_class
from pruneofa.models.opened import CompressedFile, without_weights
from pruneofa.models.saving import save_model

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


def save_compressed(model: Any, path: str | Path, *, tokenizer: Any = None, int8: bool = False) -> CompressionSummary:
    """Write a sparse model of transformers into one small file.

    Args:
        model: a model with a `save_pretrained`.
        path: the file to write, usually `*.pofa`.
        tokenizer: goes into the file too.
        int8: round encoder weights to int8, one scale per row (lossy).
    """
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, tokenizer, Path(folder), stage="save_compressed")
        return compress(folder, path, int8=int8)


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

    The architecture is built from config.json without memory for its weights.
    """
    config = load_config(model_dir)
    model = without_weights(model_class(config), config)
    return (
        [f"{name}.weight" for name in encoder_linears(model)],
        [f"{name}.weight" for name in pooler_linears(model)],
    )
