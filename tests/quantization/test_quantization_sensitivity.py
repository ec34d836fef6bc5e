import copy
from typing import Any

import pytest
import torch
from quantization_models import CONFIGS, classifier, tokens
from torch import nn
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification

from pruneofa.errors import ConfigurationError
from pruneofa.quantization.calibration import calibrate
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.qat import enable_fake_quantization, prepare_qat, quantized_linears
from pruneofa.quantization.sensitivity import measure_sensitivity

BATCHES = [{"input_ids": tokens(seed), "labels": torch.arange(4) % 2} for seed in range(3)]
WITHOUT_LABELS = [{"input_ids": batch["input_ids"]} for batch in BATCHES]


def prepared(config: QuantizationConfig | None = None, model: nn.Module | None = None) -> nn.Module:
    model = prepare_qat(model or classifier("bert"), config)
    calibrate(model, WITHOUT_LABELS)
    return model


def test_a_module_made_coarse_stands_first() -> None:
    steps = {"bert.encoder.layer.1.output.dense": 60.0}
    model = prepared(QuantizationConfig(weight_granularity="per_tensor", weight_steps=steps))
    whole, first, *others = measure_sensitivity(model, BATCHES)
    assert whole.name == "all" and whole.kind == "model"
    assert first.name == "bert.encoder.layer.1.output.dense" and first.kind == "linear"
    assert first.divergence > 5 * others[0].divergence
    assert first.divergence_weights == pytest.approx(first.divergence, rel=0.5)
    assert [row.divergence for row in others] == sorted((row.divergence for row in others), reverse=True)
    assert {row.name for row in (first, *others)} == set(quantized_linears(model))


def test_numbers_are_those_of_the_definition() -> None:
    model = prepared()
    name = "bert.encoder.layer.0.intermediate.dense"
    row = next(row for row in measure_sensitivity(model, BATCHES) if row.name == name)
    plain = classifier("bert").eval()
    enable_fake_quantization(model, False)
    model.get_submodule(name).quantizes_weight = model.get_submodule(name).quantizes_activations = True
    ids, labels = torch.cat([b["input_ids"] for b in BATCHES]), torch.cat([b["labels"] for b in BATCHES])
    with torch.no_grad():
        exact, rounded = plain(ids).logits.double(), model.eval()(ids).logits.double()
    p, q = exact.softmax(1), rounded.softmax(1)
    assert row.divergence == pytest.approx((p * (p.log() - q.log())).sum(1).mean().item(), rel=1e-3, abs=1e-9)
    change = nn.functional.cross_entropy(rounded, labels) - nn.functional.cross_entropy(exact, labels)
    assert row.loss_change == pytest.approx(change.item(), rel=1e-3, abs=1e-6)
    assert row.changed == (exact.argmax(1) != rounded.argmax(1)).double().mean().item()


def test_embeddings_and_attention_have_rows_of_their_own() -> None:
    model = prepared(QuantizationConfig(embeddings="per_tensor", embedding_bits=3, attention_products=True))
    rows = {row.name: row for row in measure_sensitivity(model, WITHOUT_LABELS)}
    table = rows["bert.embeddings.word_embeddings"]
    assert table.kind == "embedding" and table.divergence == table.divergence_weights > 0
    products = rows["bert.encoder.layer.0.attention.self"]
    assert products.kind == "attention" and products.divergence > 0 == products.divergence_weights
    assert table.loss_change is None


def test_the_model_is_left_as_it_was() -> None:
    model = prepared().train()
    with torch.no_grad():
        before = model.eval()(tokens(9)).logits
    model.train()
    done: list[tuple[int, int]] = []
    measure_sensitivity(model, WITHOUT_LABELS, progress=lambda at, of: done.append((at, of)))
    assert done[-1] == (14, 14) and len(done) == 14
    assert model.training
    with torch.no_grad():
        assert torch.equal(model.eval()(tokens(9)).logits, before)


@pytest.mark.parametrize("auto_class", [AutoModelForQuestionAnswering, AutoModelForSequenceClassification])
def test_spans_and_numbers_have_divergences_of_their_own(auto_class: Any) -> None:
    torch.manual_seed(0)
    config = copy.deepcopy(CONFIGS["bert"])
    config.num_labels = 2 if auto_class is AutoModelForQuestionAnswering else 1
    model = auto_class.from_config(config)
    batches = [{"input_ids": tokens(seed, length=5 + seed)} for seed in range(2)]
    whole = measure_sensitivity(prepared(model=model), batches)[0]
    assert whole.loss_change is None and whole.divergence > 0
    enable_fake_quantization(model, False)
    with torch.no_grad():
        exact = [model.eval()(**batch) for batch in batches]
        enable_fake_quantization(model, True)
        rounded = [model(**batch) for batch in batches]
    if config.num_labels == 1:
        differences = [(a.logits - b.logits).square().sum().item() / 2 for a, b in zip(exact, rounded, strict=True)]
    else:
        differences = [
            nn.functional.kl_div(
                after[head].double().log_softmax(1),
                before[head].double().log_softmax(1),
                log_target=True,
                reduction="sum",
            ).item()
            for before, after in zip(exact, rounded, strict=True)
            for head in ("start_logits", "end_logits")
        ]
    assert whole.divergence == pytest.approx(sum(differences) / 8, rel=1e-3)


def test_wrong_use_is_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match="sensitivity needs at least one batch"):
        measure_sensitivity(prepared(), [])
    with pytest.raises(ConfigurationError, match="has no layer prepared"):
        measure_sensitivity(classifier("bert"), BATCHES)
    with pytest.raises(ConfigurationError, match=r"the ranges of 'bert.encoder.* are not known; call calibrate"):
        measure_sensitivity(prepare_qat(classifier("bert")), BATCHES)
