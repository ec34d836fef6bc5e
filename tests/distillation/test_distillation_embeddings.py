"""Losses of sentence encoders against their definitions, and packed batches against padded ones."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from pruneofa.data.batches.batching import PaddingCollator
from pruneofa.data.batches.unpadded import PackingCollator
from pruneofa.distillation.embeddings import embedding_cosine, pooled_embeddings, relation_loss

EXAMPLES = [{"input_ids": list(range(1, 1 + length))} for length in (7, 3, 5, 3)]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("row_length", [None, 8])
def test_packed_sequences_are_pooled_like_padded_ones(pooling, row_length):
    table = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
    padded, packed = PaddingCollator(0)(EXAMPLES), PackingCollator(0, row_length=row_length)(EXAMPLES)
    wanted = pooled_embeddings(table[padded["input_ids"]], padded, pooling)
    found = pooled_embeddings(table[packed["input_ids"]], packed, pooling)
    mean = torch.stack([table[torch.tensor(example["input_ids"])].mean(dim=0) for example in EXAMPLES])
    assert torch.allclose(wanted, mean if pooling == "mean" else table[torch.ones(4, dtype=torch.int64)], atol=1e-6)
    order = lambda rows: rows[rows[:, 0].argsort(stable=True)]  # noqa: E731  packing sorts the texts
    assert torch.allclose(order(found), order(wanted), atol=1e-6)


def test_the_cosine_is_zero_for_equal_directions_and_two_for_opposite_ones():
    rows = torch.randn(5, 8)
    assert embedding_cosine(3.0 * rows, rows) == pytest.approx(0.0, abs=1e-6)
    assert embedding_cosine(-rows, rows) == pytest.approx(2.0, abs=1e-6)


def test_relations_are_the_divergence_of_softmaxes_over_the_other_texts():
    student, teacher = torch.randn(4, 6, dtype=torch.float64), torch.randn(4, 9, dtype=torch.float64)
    total = 0.0
    for row in range(4):
        others = [other for other in range(4) if other != row]
        p, q = (
            torch.tensor([F.cosine_similarity(side[row], side[other], dim=0) / 0.2 for other in others]).softmax(0)
            for side in (teacher, student)
        )
        total += float((p * (p / q).log()).sum())
    assert relation_loss(student, teacher, 0.2) == pytest.approx(total / 4)


def test_relations_need_two_other_texts_and_keep_the_graph():
    rows = torch.randn(2, 6, requires_grad=True)
    loss = relation_loss(rows, torch.randn(2, 6), 0.1)
    loss.backward()
    assert loss == 0.0 and not rows.grad.any()
