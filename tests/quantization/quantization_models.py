"""Small models that the tests of this folder share."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    MPNetConfig,
    PreTrainedConfig,
    RobertaConfig,
)

USUAL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 40,
    "max_position_embeddings": 32,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**USUAL),
    "distilbert": DistilBertConfig(
        dim=16,
        n_layers=2,
        n_heads=2,
        hidden_dim=32,
        vocab_size=40,
        dropout=0.0,
        attention_dropout=0.0,
        seq_classif_dropout=0.0,
    ),
    "mpnet": MPNetConfig(**USUAL),
    "roberta": RobertaConfig(**USUAL),
    "electra": ElectraConfig(**USUAL, embedding_size=8),
}


def classifier(family: str, seed: int = 0) -> nn.Module:
    """A small classifier of two classes in training mode; weights are large enough for its answers to differ."""
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(copy.deepcopy(CONFIGS[family]))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8.0)
    return model.train()


def tokens(seed: int = 0, batch: int = 4, length: int = 9) -> Tensor:
    """Token numbers [batch, length] without padding."""
    return torch.randint(3, 40, (batch, length), generator=torch.Generator().manual_seed(seed))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> list[float]:
    """Steps of ordinary training; step t sees the data of seed t. Returns the losses."""
    losses = []
    for step in steps:
        loss = model(tokens(step), labels=torch.arange(4) % 2).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
