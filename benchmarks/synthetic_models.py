"""Encoders of full size with random sparse weights, as compressed files: float, or int8 and calibrated."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification

from pruneofa.architectures.linears import encoder_linears
from pruneofa.models.folder_compression import compress_model
from pruneofa.models.saving import save_model
from pruneofa.quantization.calibration import calibrate
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.qat import convert, prepare_qat

SIZES: dict[str, dict[str, Any]] = {
    "bert-base": {},
    "minilm-l6": {
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    },
    "tiny": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
}

SCHEMES: dict[str, QuantizationConfig | None] = {
    "int8": QuantizationConfig(attention_products=True),  # every product in int8
    "authors": QuantizationConfig.authors(),  # the attention's own products in float
    "float": None,
}

_CALIBRATION_BATCHES, _CALIBRATION_SHAPE = 4, (4, 128)


def write_synthetic(path: Path, size: str, sparsity: float, scheme: str, seed: int = 0) -> Path:
    """Write a model with two labels unless it is there; returns its path.

    Weights are Gaussian under a uniformly random mask, of a size that keeps the variance of the activations, so that
    answers differ from text to text. Ranges of activations are calibrated on random tokens.
    """
    if path.exists():
        return path
    torch.manual_seed(seed)
    model: Any = BertForSequenceClassification(BertConfig(num_labels=2, **SIZES[size])).eval()
    with torch.no_grad():
        for linear in encoder_linears(model).values():
            linear.weight.normal_(std=(linear.in_features * (1 - sparsity)) ** -0.5)
            linear.weight.masked_fill_(torch.rand_like(linear.weight) < sparsity, 0.0)  # a product would leave -0.0
    state = None
    config = SCHEMES[scheme]
    if config is not None:
        prepare_qat(model, config)
        shape = _CALIBRATION_SHAPE
        ids = torch.randint(1000, model.config.vocab_size, (_CALIBRATION_BATCHES, *shape))
        calibrate(model, ({"input_ids": batch} for batch in ids))
        state = convert(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        save_model(model, None, Path(folder), stage="synthetic", quantized=state)
        compress_model(folder, str(path))
    return path
