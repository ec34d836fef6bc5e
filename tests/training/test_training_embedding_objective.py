"""The objective of sentence encoders: its parts, batches packed or padded, and steps of several batches."""

import copy

import pytest
import torch
from training_runs import bert
from transformers import BertModel

from pruneofa.data.batches.batching import PaddingCollator
from pruneofa.distillation.config import EmbeddingDistillationConfig
from pruneofa.errors import ConfigurationError
from pruneofa.training.embedding_objective import EmbeddingDistillation
from pruneofa.training.packed import packing

EXAMPLES = [{"input_ids": [2, *range(5, 5 + length), 3]} for length in (9, 4, 4, 2, 6, 1)]


@pytest.fixture
def teacher():
    return bert(BertModel, 0, dropout=0.0)


@pytest.fixture
def student():
    return bert(BertModel, 1, dropout=0.0).train()


def objective_of(teacher, student, **settings):
    return EmbeddingDistillation(teacher, student, EmbeddingDistillationConfig(**settings), "mean")


def gradient(model, loss):
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_a_copy_of_the_teacher_has_nothing_to_learn(teacher):
    student = copy.deepcopy(teacher).train()
    loss, _, parts = objective_of(teacher, student)(student, PaddingCollator(0)(EXAMPLES))
    assert float(loss) == pytest.approx(0.0, abs=1e-5)
    assert set(parts) == {"loss/hidden", "loss/embedding", "loss/relation"}


def test_the_loss_is_the_weighted_sum_of_its_parts(teacher, student):
    loss, _, parts = objective_of(teacher, student, hidden_weight=2.0, embedding_weight=3.0, relation_weight=0.5)(
        student, PaddingCollator(0)(EXAMPLES)
    )
    wanted = 2.0 * parts["loss/hidden"] + 3.0 * parts["loss/embedding"] + 0.5 * parts["loss/relation"]
    assert torch.allclose(loss, wanted) and all(float(part) > 0 for part in parts.values())


def test_packed_batches_give_the_gradient_of_padded_ones(teacher, student):
    objective = objective_of(teacher, student)
    wanted = gradient(student, objective(student, PaddingCollator(0)(EXAMPLES))[0])
    with packing([student, teacher], 0, 11) as collate:
        found = gradient(student, objective(student, collate(EXAMPLES))[0])
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-5 * float(wanted.abs().max()))


def test_the_shares_of_a_steps_batches_add_up(teacher, student):
    """States and embeddings are means over the step; relations are those within each batch."""
    objective = objective_of(teacher, student, hidden_weight=0.0, relation_weight=0.0)
    collate = PaddingCollator(0)
    batches = [collate(EXAMPLES[:2]), collate(EXAMPLES[2:])]
    totals = {key: sum(objective.counts(batch)[key] for batch in batches) for key in ("tokens", "texts")}
    shares = sum(objective(student, batch, totals)[0] for batch in batches)
    assert torch.allclose(shares, objective(student, collate(EXAMPLES))[0], atol=1e-6)
    assert totals == {"tokens": 38.0, "texts": 6.0}


def test_what_can_not_be_learned_is_refused(teacher, student):
    with pytest.raises(ConfigurationError, match="teacher and student are the same object"):
        objective_of(teacher, teacher)
    with pytest.raises(ConfigurationError, match="are all 0, so nothing is learned"):
        objective_of(teacher, student, hidden_weight=0.0, embedding_weight=0.0, relation_weight=0.0)
