import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from training_runs import VOCABULARY, Blocks, Reviews, bert
from transformers import BertForMaskedLM, BertForSequenceClassification

from pruneofa.data.batches.batching import PaddingCollator
from pruneofa.distillation.config import DistillationConfig
from pruneofa.distillation.distiller import Distiller
from pruneofa.training.objectives import MaskedLanguageModeling, TaskLoss


def batch_of(data: Any, count: int = 6) -> dict[str, Tensor]:
    batch = PaddingCollator(0)([data[(0, index)] for index in range(count)])
    assert not bool(batch["attention_mask"].all())  # some is padding
    return batch


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_close(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    scale = max(float(value.abs().max()) for value in right.values())
    for name in left:
        assert torch.allclose(left[name], right[name], rtol=1e-4, atol=1e-5 * scale), name


@pytest.fixture
def student() -> Any:
    return bert(BertForMaskedLM, 1, dropout=0.0).train()


@pytest.fixture
def teacher() -> Any:
    return bert(BertForMaskedLM, 2).eval()


def test_masked_language_modeling_equals_the_models_own_loss(student: Any) -> None:
    batch = batch_of(Blocks())
    expected = student(**batch).loss
    wanted = gradients(student, expected)
    loss, output, parts = MaskedLanguageModeling()(student, batch)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert output.logits.shape == (1, 0, VOCABULARY)  # none is held
    assert parts == {}
    assert_close(gradients(student, loss), wanted)


@pytest.mark.parametrize("tokens", ["masked", "all"])
def test_gradients_with_selected_tokens_equal_those_of_the_full_computation(
    tokens: str, student: Any, teacher: Any
) -> None:
    batch = batch_of(Blocks())
    temperature, hardness = 2.0, 0.3
    full = student(**batch)
    with torch.no_grad():
        taught = teacher(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    chosen = batch["labels"] != -100 if tokens == "masked" else batch["attention_mask"].bool()
    mine, theirs = (F.log_softmax(logits[chosen] / temperature, -1) for logits in (full.logits, taught))
    divergence = (theirs.exp() * (theirs - mine)).sum(-1).mean() * temperature**2
    expected = (1 - hardness) * full.loss + hardness * divergence
    wanted = gradients(student, expected)

    distiller = Distiller(teacher, DistillationConfig(temperature=temperature, hardness=hardness, tokens=tokens))
    loss, _, parts = MaskedLanguageModeling(distiller)(student, batch)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(parts["loss/task"]) == pytest.approx(float(full.loss.detach()), rel=1e-5)
    assert float(parts["loss/distillation"]) == pytest.approx(float(divergence.detach()), rel=1e-5)
    assert_close(gradients(student, loss), wanted)
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_evaluation_is_the_tasks_own_loss_and_asks_no_teacher(student: Any, teacher: Any) -> None:
    batch = batch_of(Blocks())
    config = DistillationConfig(hidden_loss="mse", attention_loss="mse", tokens="all")
    calls: list[int] = []
    teacher.register_forward_hook(lambda *_: calls.append(1))
    student.set_attn_implementation("eager")
    teacher.set_attn_implementation("eager")
    objective = MaskedLanguageModeling(Distiller(teacher, config, student=student))
    student.eval()
    with torch.no_grad():
        loss, output, parts = objective(student, batch)
        assert float(loss) == pytest.approx(float(student(**batch).loss), rel=1e-5)
    assert (calls, parts) == ([], {})
    assert output.hidden_states is None and output.attentions is None
    student.train()
    objective(student, batch)  # tries once how the teacher's head ends
    calls.clear()
    objective(student, batch)
    assert calls == [1]


def test_batch_without_masked_tokens_has_no_loss_and_no_nan(student: Any, teacher: Any) -> None:
    batch = batch_of(Blocks())
    batch["labels"] = torch.full_like(batch["labels"], -100)
    for distiller in (None, Distiller(teacher, DistillationConfig(tokens="masked"))):
        loss, _, _ = MaskedLanguageModeling(distiller)(student, batch)
        assert float(loss.detach()) == 0.0
        assert all(not bool(value.any()) for value in gradients(student, loss).values())


def test_objective_leaves_batch_and_model_as_they_are(student: Any, teacher: Any) -> None:
    batch = batch_of(Blocks())
    before = copy.deepcopy(batch)
    MaskedLanguageModeling(Distiller(teacher, DistillationConfig(tokens="masked")))(student, batch)
    assert batch.keys() == before.keys()
    assert all(torch.equal(batch[name], before[name]) for name in batch)
    assert student(input_ids=batch["input_ids"]).logits.shape[:2] == batch["input_ids"].shape


def test_task_loss_with_stored_logits_equals_that_with_the_teacher() -> None:
    model = bert(BertForSequenceClassification, 3, dropout=0.0).train()
    teacher = bert(BertForSequenceClassification, 4).eval()
    batch = batch_of(Reviews())
    config = DistillationConfig(temperature=2.0, hardness=0.7)
    with torch.no_grad():
        logits = teacher(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    with_teacher = TaskLoss(Distiller(teacher, config))(model, batch)
    with_logits = TaskLoss(Distiller(None, config))(model, {**batch, "teacher_logits": logits})
    assert float(with_teacher[0].detach()) == float(with_logits[0].detach())
    assert with_teacher[2] == with_logits[2]
    mine, theirs = (F.log_softmax(values / 2.0, -1) for values in (with_logits[1].logits, logits))
    divergence = float((theirs.exp() * (theirs - mine)).sum(-1).mean().detach()) * 4.0
    task = float(F.cross_entropy(with_logits[1].logits, batch["labels"]).detach())
    assert float(with_logits[0].detach()) == pytest.approx(0.3 * task + 0.7 * divergence, rel=1e-5)


def test_task_loss_without_teacher_is_the_models_own() -> None:
    model = bert(BertForSequenceClassification, 3, dropout=0.0).train()
    batch = batch_of(Reviews())
    loss, _, parts = TaskLoss()(model, batch)
    assert float(loss.detach()) == float(model(**batch).loss.detach())
    assert parts == {}
