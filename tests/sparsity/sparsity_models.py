"""Small models and loops that the tests of this folder share."""

import copy
from collections.abc import Callable
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

from pruneofa.sparsity.config import SparsityConfig
from pruneofa.sparsity.lock import PatternLock
from pruneofa.sparsity.pruner import Pruner

USUAL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 28,
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
        hidden_dim=28,
        vocab_size=40,
        dropout=0.0,
        attention_dropout=0.0,
        seq_classif_dropout=0.0,
    ),
    "mpnet": MPNetConfig(**USUAL),
    "roberta": RobertaConfig(**USUAL),
    "electra": ElectraConfig(**USUAL, embedding_size=8),
}

MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


def classifier(family: str = "bert", seed: int = 0) -> nn.Module:
    """A classifier of two classes in training mode; weights are large enough for gradients to reach the encoder."""
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(copy.deepcopy(CONFIGS[family]))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8.0)
    return model.train()


def ramp(**changes: Any) -> SparsityConfig:
    """A short ramp to 70 % with a re-selection at 0, 2, 4, 5 and its end at 5, frozen at 8."""
    settings = {"target_sparsity": 0.7, "end_step": 5, "update_every": 2, "freeze_step": 8}
    return SparsityConfig(**{**settings, **changes})


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)


def loss_of(model: nn.Module, step: int) -> Tensor:
    """The loss on the batch of `step`."""
    ids = torch.randint(3, 40, (4, 9), generator=torch.Generator().manual_seed(step))
    return model(input_ids=ids, labels=torch.arange(4) % 2).loss


def backward_and_clip(model: nn.Module, step: int, max_norm: float = 1.0) -> Tensor:
    """Gradients of the batch of `step`, clipped; their norm before clipping."""
    loss_of(model, step).backward()
    return torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)


def train(
    model: nn.Module,
    keeper: Pruner | PatternLock,
    optimizer: torch.optim.Optimizer,
    steps: range,
    check: Callable[[], None] = lambda: None,
) -> None:
    """The loop of the documentation; `check` is called when each step is done."""
    for step in steps:
        backward_and_clip(model, step)
        optimizer.step()
        optimizer.zero_grad()
        keeper.step()
        check()


def weight_bits(weight: Tensor) -> Tensor:
    """The weight as integers, so that -0.0 differs from +0.0."""
    return weight.detach().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()])


def assert_masked(keeper: Pruner | PatternLock) -> None:
    """Every masked weight is +0.0, to the bit."""
    for name, weight in keeper.masks.weights():
        assert not weight_bits(weight)[~keeper.masks[name]].any(), name


def same_state(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models hold the same values, bit for bit."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)
