"""NNCF's own int8 quantization of a float ONNX file, OpenVINO's way to the quickest form."""

import contextlib
import importlib.util
import io
import logging
from pathlib import Path

from pruneofa.benchmarking.inputs import Shape, make_inputs

__all__ = ["has_nncf", "quantize_with_nncf"]

_BATCHES, _BATCH, _LENGTH = 4, 4, 128


def has_nncf() -> bool:
    """Whether it is installed; without it OpenVINO reads the Q/DQ file alone."""
    return all(importlib.util.find_spec(name) is not None for name in ("nncf", "openvino"))


def quantize_with_nncf(source: Path, target: Path, vocabulary: int, longest: int | None, seed: int = 0) -> None:
    """Quantize weights and activations with the settings for transformers, on a few batches of random tokens.

    The ranges found so are good enough to compute as fast as with others; how near the answers are is reported.

    Args:
        source: The float ONNX file.
        target: `.xml` of OpenVINO's form, its `.bin` beside it.
        vocabulary: Number of tokens.
        longest: Most tokens of a sequence.
        seed: Of the tokens.
    """
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    model = openvino.Core().read_model(str(source))
    names = {value.get_any_name() for value in model.inputs}
    batches = make_inputs(Shape(_BATCH, min(_LENGTH, longest or _LENGTH)), _BATCHES, vocabulary, seed)
    dataset = nncf.Dataset([{name: batch[name] for name in names} for batch in batches])
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        quantized = nncf.quantize(model, dataset, model_type=nncf.ModelType.TRANSFORMER, subset_size=_BATCHES)
    partial = target.with_name(f"{target.stem}.partial.xml")
    openvino.save_model(quantized, str(partial), compress_to_fp16=False)
    partial.with_suffix(".bin").replace(target.with_suffix(".bin"))
    partial.replace(target)
