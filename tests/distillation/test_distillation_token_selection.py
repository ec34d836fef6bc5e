"""Rows of the vocabulary come in few numbers, whatever the batch, and the padding among them changes nothing."""

from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from pruneofa.distillation.token_selection import run_to_vocabulary
from pruneofa.distillation.vocabulary import ROW_MULTIPLE, vocabulary_losses

SIZES: dict[str, Any] = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 40,
}  # fmt: skip
FAMILIES: dict[str, Any] = {
    "bert": lambda: BertForMaskedLM(BertConfig(**SIZES)),
    "electra": lambda: ElectraForMaskedLM(ElectraConfig(**SIZES, embedding_size=8)),
    "roberta": lambda: RobertaForMaskedLM(RobertaConfig(**SIZES)),
}


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 96])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_padded_to_a_multiple(family: str, count: int) -> None:
    torch.manual_seed(0)
    model = FAMILIES[family]().eval()
    ids = torch.randint(5, 40, (4, 24))
    selection = torch.zeros(96, dtype=torch.bool)
    selection[torch.randperm(96)[:count]] = True
    selection = selection.reshape(4, 24)
    _, rows = run_to_vocabulary(model, model, {"input_ids": ids}, selection)
    assert len(rows) == count and len(rows.hidden) % ROW_MULTIPLE == 0 and rows.padding < ROW_MULTIPLE
    logits = model(input_ids=ids).logits[selection]
    labels = ids[selection]
    found = vocabulary_losses(rows, labels)
    wanted = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    assert float(found.weighted.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5, abs=1e-6)
    parameters = list(model.parameters())
    mine = torch.autograd.grad(found.weighted, parameters, allow_unused=True)
    theirs = torch.autograd.grad(wanted, parameters, allow_unused=True)
    for one, other in zip(mine, theirs, strict=True):
        one, other = (torch.zeros(()) if part is None else part for part in (one, other))
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
