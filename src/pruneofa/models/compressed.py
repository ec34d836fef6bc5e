"""Compressed files of models of transformers: write one, load one, whichever tool saved the model."""

import copy
import tempfile
from pathlib import Path
from typing import Any, Literal

from pruneofa.checkpoint.layout import FORMS
from pruneofa.checkpoint.writer import CompressionSummary, compress
from pruneofa.errors import ConfigurationError
from pruneofa.models.loading import model_class
from pruneofa.models.opened import CompressedFile
from pruneofa.models.saving import save_model
from pruneofa.quantization.parameters import QuantizedState
from pruneofa.quantization.qat import check_fits, convert, is_prepared, state_of
from pruneofa.sparsity.masks import unwrap
from pruneofa.sparsity.ownership import zeros_mended

__all__ = ["load_compressed", "save_compressed"]


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
        model: a model with a `save_pretrained`, wrapped (`torch.compile`, DDP) or not; it stays as it is, but for zeros
            that its pruner or lock promises and that something has overwritten: these are put back.
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
    plain = unwrap(model)
    with zeros_mended(plain, f"saving {path}"):
        return _save(plain, Path(path), tokenizer, form, int8, quantization)


def _save(
    model: Any,
    path: Path,
    tokenizer: Any,
    form: str,
    int8: bool,
    quantization: QuantizedState | Literal["found"] | None,
) -> CompressionSummary:
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
