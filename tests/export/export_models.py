"""Small models of each family, float and int8, that the tests of this folder share."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    MPNetConfig,
    RobertaConfig,
)

from pruneofa.architectures.linears import encoder_linears
from pruneofa.export.parity import parity_batches
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.parameters import QuantizedState
from pruneofa.quantization.qat import convert, prepare_qat

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 40,
    "max_position_embeddings": 40,
}
LONGEST = 38  # MPNet numbers positions from the padding token's id on
CONFIGS = {
    "bert": BertConfig(**SIZES),
    "distilbert": DistilBertConfig(
        dim=16, n_layers=1, n_heads=2, hidden_dim=24, vocab_size=40, max_position_embeddings=40
    ),
    "mpnet": MPNetConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES, type_vocab_size=1),
}
CLASSES = {
    "classification": AutoModelForSequenceClassification,
    "answers": AutoModelForQuestionAnswering,
    "masked_lm": AutoModelForMaskedLM,
    "encoder": AutoModel,
}

FLOAT_CASES = {
    "bert-masked_lm": ("bert", "masked_lm", {}),
    "distilbert-answers": ("distilbert", "answers", {}),
    "roberta-classification": ("roberta", "classification", {}),
    "mpnet-mean": ("mpnet", "encoder", {"pooling": "mean", "normalize": True}),
}
INT8_CASES = {
    "bert-classification": ("bert", "classification", {}, {}),
    "distilbert-answers": (
        "distilbert", "answers", {"attention_products": True, "embeddings": "per_row"}, {},
    ),
    "roberta-classification": ("roberta", "classification", {"attention_products": True}, {}),
    "mpnet-cls": (
        "mpnet", "encoder", {"embeddings": "per_tensor", "weight_granularity": "per_tensor"}, {"pooling": "cls"},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Int8Model:
    """A converted model and its grids."""

    plain: nn.Module
    state: QuantizedState


def make_model(family: str, head: str, seed: int = 0) -> Any:
    """A random model, 70 % of the encoder's weights zero; the rest are large, so that its answers differ."""
    torch.manual_seed(seed)
    model = CLASSES[head].from_config(copy.deepcopy(CONFIGS[family])).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(8.0 if parameter.ndim == 2 else 1.0)
            if name.endswith("bias"):  # equal ones would be stored once
                parameter.add_(torch.randn_like(parameter) * 0.1)
        for linear in encoder_linears(model).values():
            linear.weight.mul_(torch.rand_like(linear.weight) < 0.3)
    return model


def make_int8(family: str, head: str, **settings: Any) -> Int8Model:
    """A random int8 model whose activation ranges come from a few batches."""
    model = make_model(family, head)
    ignore = ("*decoder",) if head == "masked_lm" else ()
    prepared = prepare_qat(model.train(), QuantizationConfig(ignore=ignore, **settings))
    with torch.no_grad():
        for inputs in batches(model, seed=5):
            prepared(**inputs)
    state = convert(prepared.eval())
    return Int8Model(prepared, state)


def input_names(model: Any) -> tuple[str, ...]:
    segments = ("token_type_ids",) if model.config.model_type == "bert" else ()
    return ("input_ids", "attention_mask", *segments)


def batches(model: Any, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    """Batches of many lengths and sizes, with padding."""
    return list(parity_batches(input_names(model), LONGEST, 40, model.config.pad_token_id or 0, seed))
