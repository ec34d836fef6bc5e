import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    ElectraConfig,
    MPNetConfig,
    RobertaConfig,
)

from pruneofa.distillation.config import DistillationConfig
from pruneofa.distillation.distiller import Distiller
from pruneofa.distillation.losses import attention_mse, hidden_cosine, hidden_mse
from pruneofa.distillation.token_selection import head_on_tokens, select_tokens
from pruneofa.errors import ConfigurationError

T = 2.0
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
FAMILIES = {
    "bert": BertConfig(**USUAL),
    "distilbert": DistilBertConfig(
        dim=16, n_layers=2, n_heads=2, hidden_dim=28, vocab_size=40, dropout=0.0, attention_dropout=0.0
    ),
    "mpnet": MPNetConfig(**USUAL),
    "roberta": RobertaConfig(**USUAL),
    "electra": ElectraConfig(**USUAL, embedding_size=8),
}


def build(head: type, seed: int, **changes: Any) -> nn.Module:
    torch.manual_seed(seed)
    model = head(BertConfig(**{**USUAL, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(5.0)
    return model.train()


def token_batch() -> dict[str, Tensor]:
    """Three sequences of 8, 5 and 3 tokens, padded; some tokens are masked."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 40, (3, 8), generator=generator)
    mask = (torch.arange(8) < torch.tensor([[8], [5], [3]])).long()
    masked = (torch.rand(3, 8, generator=generator) < 0.4) & mask.bool()
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": torch.where(masked, ids, -100)}


def inputs_of(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in batch.items() if name in ("input_ids", "attention_mask")}


def rows_kl(student: Tensor, teacher: Tensor, temperature: float = T) -> Tensor:
    """T^2 KL(teacher || student), one entry a row, as the definition has it."""
    p = (teacher / temperature).softmax(-1)
    return temperature**2 * (p * (p.log() - (student / temperature).log_softmax(-1))).sum(-1)


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    model.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def assert_same_gradients(model: nn.Module, loss: Tensor, expected: Tensor) -> None:
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss.item() > 1e-3
    wanted = gradients(model, expected)
    got = gradients(model, loss)
    assert len(got) == len(wanted) > 0
    for mine, theirs in zip(got, wanted, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gathered", [False, True])
@pytest.mark.parametrize("tokens", ["all", "masked"])
@pytest.mark.parametrize("family", FAMILIES)
def test_masked_language_models_equal_the_naive_way(family: str, tokens: str, gathered: bool) -> None:
    torch.manual_seed(0)
    student = AutoModelForMaskedLM.from_config(copy.deepcopy(FAMILIES[family]))
    teacher = AutoModelForMaskedLM.from_config(copy.deepcopy(FAMILIES[family]))
    with torch.no_grad():
        for parameter in [*student.parameters(), *teacher.parameters()]:
            if parameter.ndim == 2:
                parameter.mul_(5.0)
    batch = token_batch()
    config = DistillationConfig(temperature=T, hardness=1.0, tokens=tokens)
    distiller = Distiller(teacher, config, student=student)

    kept = batch["attention_mask"].bool() if tokens == "all" else batch["labels"] != -100
    full = student(**inputs_of(batch)).logits
    expected = rows_kl(full, teacher(**inputs_of(batch)).logits)[kept].mean()
    if gathered:
        with head_on_tokens(student, select_tokens(batch, tokens)):
            output = student(**inputs_of(batch))
        assert output.logits.shape == (1, int(kept.sum()), 40)
        assert torch.allclose(output.logits[0], full[kept], atol=1e-5)
    else:
        output = student(**inputs_of(batch))
    assert_same_gradients(student, distiller(output, batch), expected)


def test_head_on_tokens_leaves_no_hook_behind() -> None:
    model = build(BertForMaskedLM, 0)
    batch = token_batch()
    with pytest.raises(RuntimeError), head_on_tokens(model, batch["labels"] != -100):
        raise RuntimeError
    assert model(**inputs_of(batch)).logits.shape == (3, 8, 40)


def test_without_an_attention_mask_every_token_counts() -> None:
    assert select_tokens({"input_ids": torch.zeros(2, 3, dtype=torch.long)}, "all").all()


def test_a_batch_without_masked_tokens_gives_zero() -> None:
    student, batch = build(BertForMaskedLM, 0), token_batch()
    batch["labels"] = torch.full_like(batch["labels"], -100)
    distiller = Distiller(build(BertForMaskedLM, 1), DistillationConfig(hardness=1.0, tokens="masked"))
    loss = distiller(student(**inputs_of(batch)), batch)
    loss.backward()
    assert loss.item() == 0.0


def test_hardness_weighs_the_two_losses() -> None:
    student, teacher, batch = build(BertForMaskedLM, 0), build(BertForMaskedLM, 1), token_batch()
    distiller = Distiller(teacher, DistillationConfig(temperature=T, hardness=0.3))
    output = student(**batch)
    loss = distiller(output, batch)
    kept = batch["attention_mask"].bool()
    kl = rows_kl(output.logits, teacher(**inputs_of(batch)).logits)[kept].mean()
    ce = nn.functional.cross_entropy(output.logits[batch["labels"] != -100], batch["labels"][batch["labels"] != -100])
    assert loss.item() == pytest.approx(0.7 * ce.item() + 0.3 * kl.item(), rel=1e-5)
    assert distiller.parts["loss/task"].item() == pytest.approx(ce.item(), rel=1e-5)
    assert distiller.parts["loss/distillation"].item() == pytest.approx(kl.item(), rel=1e-5)
    assert not any(part.requires_grad for part in distiller.parts.values())


def test_next_sentence_predictions_are_added() -> None:
    student, teacher, batch = build(BertForPreTraining, 0), build(BertForPreTraining, 1), token_batch()
    batch["next_sentence_label"] = torch.tensor([0, 1, 0])
    loss = Distiller(teacher, DistillationConfig(temperature=T, hardness=0.5))(student(**batch), batch)
    taught, naive = teacher(**inputs_of(batch)), student(**batch)
    kl = rows_kl(naive.prediction_logits, taught.prediction_logits)[batch["attention_mask"].bool()].mean()
    kl = kl + rows_kl(naive.seq_relationship_logits, taught.seq_relationship_logits).mean()
    assert_same_gradients(student, loss, 0.5 * naive.loss + 0.5 * kl)


def classification_batch() -> dict[str, Tensor]:
    return {**inputs_of(token_batch()), "labels": torch.tensor([0, 2, 1])}


def test_classification_and_cached_logits() -> None:
    student, teacher = (build(BertForSequenceClassification, seed, num_labels=3) for seed in (0, 1))
    batch = classification_batch()
    config = DistillationConfig(temperature=T, hardness=0.5)
    output = student(**batch)
    live = Distiller(teacher, config)(output, batch)
    taught = teacher(**inputs_of(batch)).logits.detach()
    expected = 0.5 * output.loss + 0.5 * rows_kl(output.logits, taught).mean()
    assert live.item() == pytest.approx(expected.item(), rel=1e-5)
    cached = Distiller(None, config)(output, {**batch, "teacher_logits": taught})
    assert cached.item() == pytest.approx(live.item(), rel=1e-6)


@pytest.mark.parametrize("tokens", ["all", "masked"])
def test_cached_token_logits(tokens: str) -> None:
    student, teacher, batch = build(BertForMaskedLM, 0), build(BertForMaskedLM, 1), token_batch()
    config = DistillationConfig(temperature=T, hardness=1.0, tokens=tokens)
    output, taught = student(**inputs_of(batch)), teacher(**inputs_of(batch)).logits.detach()
    cached = Distiller(None, config)(output, {**batch, "teacher_logits": taught})
    assert cached.item() == pytest.approx(Distiller(teacher, config)(output, batch).item(), rel=1e-6)


def test_answers_are_the_mean_of_start_and_end() -> None:
    student, teacher = build(BertForQuestionAnswering, 0), build(BertForQuestionAnswering, 1)
    batch = {**inputs_of(token_batch()), "start_positions": torch.tensor([1, 2, 0])}
    batch["end_positions"] = batch["start_positions"] + 1
    output = student(**batch)
    loss = Distiller(teacher, DistillationConfig(temperature=T, hardness=1.0))(output, batch)
    taught = teacher(**inputs_of(batch))
    start = rows_kl(output.start_logits, taught.start_logits.detach()).mean()
    end = rows_kl(output.end_logits, taught.end_logits.detach()).mean()
    assert loss.item() == pytest.approx((start.item() + end.item()) / 2, rel=1e-5)


@pytest.mark.parametrize("hidden", ["cosine", "mse"])
def test_features_of_a_deeper_teacher(hidden: str) -> None:
    student = build(BertForSequenceClassification, 0)
    teacher = build(BertForSequenceClassification, 1, num_hidden_layers=4)
    layers = {0: 0, 1: 2, 2: 4}
    config = DistillationConfig(
        temperature=T,
        hardness=1.0,
        hidden_loss=hidden,
        hidden_weight=0.7,
        attention_loss="mse",
        attention_weight=3.0,
        layer_map=layers,
    )
    distiller = Distiller(teacher, config, student=student)
    assert distiller.feature_arguments == {"output_hidden_states": True, "output_attentions": True}
    batch = {**inputs_of(token_batch()), "labels": torch.tensor([0, 1, 1])}
    output = student(**batch, **distiller.feature_arguments)
    taught = teacher(**inputs_of(batch), **distiller.feature_arguments)
    compare, mask = {"cosine": hidden_cosine, "mse": hidden_mse}[hidden], batch["attention_mask"]
    states = [compare(output.hidden_states[m], taught.hidden_states[t], mask).item() for m, t in layers.items()]
    maps = [attention_mse(output.attentions[m - 1], taught.attentions[2 * m - 1], mask).item() for m in (1, 2)]
    expected = (
        rows_kl(output.logits, taught.logits.detach()).mean().item() + 0.7 * sum(states) / 3 + 3.0 * sum(maps) / 2
    )
    assert distiller(output, batch).item() == pytest.approx(expected, rel=1e-5)


def test_features_are_compared_beside_gathered_token_logits() -> None:
    student, teacher, batch = build(BertForMaskedLM, 0), build(BertForMaskedLM, 1), token_batch()
    config = DistillationConfig(hardness=1.0, tokens="masked", hidden_loss="mse")
    distiller = Distiller(teacher, config, student=student)
    output = student(**inputs_of(batch), output_hidden_states=True)
    plain = Distiller(teacher, config.model_copy(update={"hidden_loss": "none"}))(output, batch)
    taught = teacher(**inputs_of(batch), output_hidden_states=True)
    pairs = zip(output.hidden_states, taught.hidden_states, strict=True)
    states = [hidden_mse(mine, theirs, batch["attention_mask"]).item() for mine, theirs in pairs]
    assert distiller(output, batch).item() == pytest.approx(plain.item() + sum(states) / 3, rel=1e-5)
    # Logits computed before say nothing of hidden states, so the teacher runs all the same.
    cached = {**batch, "teacher_logits": teacher(**inputs_of(batch)).logits}
    assert distiller(output, cached).item() == distiller(output, batch).item()


def test_the_teacher_stays_out_of_the_student() -> None:
    student, teacher = (build(BertForSequenceClassification, seed, num_labels=3) for seed in (0, 1))
    keys, before = list(student.state_dict()), copy.deepcopy(teacher.state_dict())
    teacher.config.hidden_dropout_prob = 0.5
    distiller = Distiller(teacher, DistillationConfig(hardness=1.0), student=student)
    assert not teacher.training
    teacher.train()  # whoever does this
    student.train()
    batch = classification_batch()
    distiller(student(**batch), batch).backward()
    assert not any(module.training for module in teacher.modules())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())
    assert all(torch.equal(teacher.state_dict()[name], value) for name, value in before.items())
    assert list(student.state_dict()) == keys
    assert any(parameter.grad is not None for parameter in student.parameters())


def classifiers(**changes: Any) -> tuple[nn.Module, nn.Module]:
    return build(BertForSequenceClassification, 0), build(BertForSequenceClassification, 1, **changes)


@pytest.mark.parametrize(
    ("settings", "changes", "text"),
    [
        (
            {"hidden_loss": "mse"},
            {"num_hidden_layers": 4},
            "layer_map is not set, but the student has 2 layers and the",
        ),
        ({"hidden_loss": "mse", "layer_map": {3: 1}}, {}, "layer_map has 3: 1; allowed: student layers 1 to 2"),
        ({"hidden_loss": "mse", "layer_map": {1: 5}}, {}, "layer_map has 1: 5"),
        ({"hidden_loss": "mse", "layer_map": {0: 1}}, {}, "layer_map has 0: 1"),
        ({"attention_loss": "mse", "layer_map": {0: 0}}, {}, "names no layer with attentions"),
        ({"hidden_loss": "mse"}, {"hidden_size": 20}, "hidden_size is 16 in the student and 20 in the teacher"),
        ({"attention_loss": "mse"}, {"num_attention_heads": 4}, "num_attention_heads is 2 in the student and 4"),
    ],
)
def test_features_that_do_not_fit_are_refused(settings: dict[str, Any], changes: dict[str, Any], text: str) -> None:
    student, teacher = classifiers(**changes)
    with pytest.raises(ConfigurationError, match=text):
        Distiller(teacher, DistillationConfig(**settings), student=student)


def test_features_need_a_teacher_model() -> None:
    with pytest.raises(ConfigurationError, match="need a teacher model, not only its logits"):
        Distiller(None, DistillationConfig(hidden_loss="cosine"))


def test_a_student_is_not_its_own_teacher() -> None:
    student, _ = classifiers()
    with pytest.raises(ConfigurationError, match="teacher and student are the same object"):
        Distiller(student, DistillationConfig(), student=student)


def test_wrong_use_is_refused() -> None:
    student, teacher = classifiers()
    batch = {**inputs_of(token_batch()), "labels": torch.tensor([0, 1, 1])}
    without_labels = student(**inputs_of(batch))
    with pytest.raises(ConfigurationError, match=r"hardness is 0\.5, .*pass labels to the student"):
        Distiller(teacher, DistillationConfig(hardness=0.5))(without_labels, inputs_of(batch))
    with pytest.raises(ConfigurationError, match="each batch must carry `teacher_logits`"):
        Distiller(None, DistillationConfig(hardness=1.0))(without_labels, batch)
    with pytest.raises(ConfigurationError, match="both must predict the same classes"):
        Distiller(build(BertForSequenceClassification, 1, num_labels=5), DistillationConfig())(student(**batch), batch)
    with pytest.raises(ConfigurationError, match=r"student predicts \['logits'\], the teacher \['start_logits'"):
        Distiller(build(BertForQuestionAnswering, 1), DistillationConfig())(student(**batch), batch)
    headless = build(BertModel, 0)(**inputs_of(batch))
    with pytest.raises(ConfigurationError, match="predicts nothing that can be distilled"):
        Distiller(teacher, DistillationConfig(hardness=1.0))(headless, batch)
    tokens = build(BertForMaskedLM, 0)(**inputs_of(batch))
    with pytest.raises(ConfigurationError, match="batch has no `labels` to tell which tokens"):
        Distiller(build(BertForMaskedLM, 1), DistillationConfig(hardness=1.0, tokens="masked"))(
            tokens, inputs_of(batch)
        )
    distiller = Distiller(teacher, DistillationConfig(hardness=1.0, attention_loss="mse"))
    with pytest.raises(ConfigurationError, match=r"no attentions; pass Distiller\.feature_arguments"):
        distiller(student(**batch), batch)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"temperature": 0.0}, "greater than 0"),
        ({"temperature": float("inf")}, "finite number"),
        ({"hardness": 1.5}, "less than or equal to 1"),
        ({"tokens": "some"}, "'all' or 'masked'"),
        ({"layer_map": {}}, "at least 1 item"),
        ({"softness": 1}, "unknown key"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        DistillationConfig(**settings)
