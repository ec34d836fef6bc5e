"""Padding is no data: what observers see of texts is the same one by one and in padded batches."""

import copy
import pickle

import pytest
import torch
from quantization_models import CONFIGS, classifier
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForQuestionAnswering

from pruneofa.quantization.activations import ActivationQuantizer
from pruneofa.quantization.calibration import calibrate
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.padding import extremes, heed_padding, ignore_padding, present_tokens, present_values
from pruneofa.quantization.qat import convert, prepare_qat, quantized_linears
from pruneofa.quantization.sensitivity import answers_of, measure_sensitivity

_random = torch.Generator().manual_seed(0)
TEXTS = [torch.randint(3, 40, (int(n),), generator=_random) for n in torch.randint(2, 20, (12,), generator=_random)]


def padded(texts: list[Tensor], length: int | None = None, left: bool = False) -> dict[str, Tensor]:
    width = length or max(len(text) for text in texts)
    ids, mask = torch.ones(len(texts), width, dtype=torch.long), torch.zeros(len(texts), width, dtype=torch.long)
    for row, text in enumerate(texts):
        place = slice(width - len(text), width) if left else slice(0, len(text))
        ids[row, place], mask[row, place] = text, 1
    return {"input_ids": ids, "attention_mask": mask}


def ranges(model: nn.Module) -> Tensor:
    """Lower and upper end of every activation's range."""
    ends = []
    for linear in quantized_linears(model).values():
        for quantizer in linear.activation_quantizers.values():
            ends += [*quantizer.observer.range(), quantizer.scale]
    return torch.cat(ends)


@pytest.mark.parametrize("kind", ["moving_average", "minmax", "percentile", "mse"])
@pytest.mark.parametrize("family", CONFIGS)
def test_calibration_gives_the_same_ranges_however_texts_are_batched(family: str, kind: str) -> None:
    found = []
    for batches in (
        [{"input_ids": text[None]} for text in TEXTS],
        [padded(TEXTS)],
        [padded(TEXTS[:5], length=25), padded(TEXTS[5:])],
    ):
        model = prepare_qat(classifier(family), QuantizationConfig.model_validate({"activation_range": kind}))
        calibrate(model, batches)
        found.append(ranges(model))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["moving_average", "minmax"])
def test_training_observes_no_padding(kind: str) -> None:
    found = []
    for width in (20, 29):  # of the same texts
        model = prepare_qat(classifier("bert"), QuantizationConfig.model_validate({"activation_range": kind}))
        model(**padded(TEXTS, width))
        found.append(ranges(model))
    torch.testing.assert_close(found[1], found[0], rtol=2e-5, atol=1e-6)


def test_padding_on_the_left_is_no_data_either() -> None:
    text, batch = TEXTS[0], padded(TEXTS[:3], left=True)
    batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    found = []
    for batches in ([{"input_ids": text[None]} for text in TEXTS[:3]], [batch]):
        model = prepare_qat(
            classifier("bert"), QuantizationConfig(activation_range="minmax", ignore=("*pooler*", "*r"))
        )
        model.bert.pooler = None  # looks at the first token, which is padding here
        calibrate(model.bert, batches)
        found.append(ranges(model))
    torch.testing.assert_close(found[1], found[0], rtol=2e-5, atol=1e-6)
    assert len(text) < batch["input_ids"].shape[1]


def test_a_mask_that_is_given_by_place_counts_too() -> None:
    found = []
    for by_name in (True, False):
        model, batch = prepare_qat(classifier("bert")), padded(TEXTS)
        model(**batch) if by_name else model(batch["input_ids"], batch["attention_mask"])
        found.append(ranges(model))
    assert torch.equal(*found)


def test_without_a_mask_every_value_counts() -> None:
    values = torch.arange(24.0).reshape(2, 3, 4)
    assert present_tokens() is None
    assert extremes(values) == (0.0, 23.0)
    assert torch.equal(present_values(values), values.reshape(-1))


class Recorder(nn.Module):
    """In the place of a layer of BERT: what is seen of tensors of several shapes."""

    def __init__(self, *tensors: Tensor) -> None:
        super().__init__()
        self.tensors, self.seen = tensors, []

    def forward(self, hidden: Tensor, *_: object, **__: object) -> Tensor:
        self.seen = [(extremes(tensor), present_values(tensor)) for tensor in self.tensors]
        return hidden


def test_padding_is_known_by_the_shape_of_a_tensor() -> None:
    model = classifier("bert")
    tokens = torch.arange(2.0 * 3 * 4).reshape(2, 3, 4)
    recorder = Recorder(tokens, tokens.reshape(6, 4), torch.tensor([[5.0, 7.0], [9.0, -1.0]]), torch.arange(5.0))
    model.bert.encoder.layer[0] = recorder
    heed_padding(model)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    model(input_ids=torch.full((2, 3), 5), attention_mask=mask)
    kept = tokens[mask.bool()].reshape(-1)
    for bounds, values in recorder.seen[:2]:  # also where tokens of all texts are in one dimension
        assert bounds == (0.0, 15.0)
        assert torch.equal(values, kept)
    assert recorder.seen[2][0] == (-1.0, 9.0)  # one row for each text
    assert recorder.seen[3][0] == (0.0, 4.0)
    assert present_tokens() is None


def test_a_forward_pass_that_fails_leaves_no_mask_behind() -> None:
    model = classifier("bert")
    heed_padding(model)
    with pytest.raises(IndexError):
        model(input_ids=torch.full((1, 3), 4_000), attention_mask=torch.ones(1, 3))
    assert present_tokens() is None


def test_a_batch_of_padding_alone_gives_no_range() -> None:
    model = prepare_qat(classifier("bert"), QuantizationConfig(ignore=("*pooler*", "classifier")))
    model.bert.encoder(torch.randn(1, 3, 16))
    before = ranges(model)
    model(input_ids=torch.ones(1, 3, dtype=torch.long), attention_mask=torch.zeros(1, 3))
    assert torch.equal(ranges(model), before)


def test_nothing_is_left_on_the_model_by_convert() -> None:
    model = prepare_qat(classifier("bert"))
    twin = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    for one in (model, twin):
        one(**padded(TEXTS))
        convert(one)
        assert all(not module._forward_pre_hooks and not module._forward_hooks for module in one.modules())
    ignore_padding(model)  # does nothing twice


def test_recomputed_activations_are_observed_once() -> None:
    quantizer = ActivationQuantizer(QuantizationConfig(activation_averaging_constant=0.5))
    values = torch.tensor([[-1.0, 1.0]], requires_grad=True)
    quantizer(torch.tensor([[-3.0, 3.0]]))
    checkpoint(quantizer, values, use_reentrant=False).sum().backward()
    assert quantizer.observer.maximum == 2.0


def test_answers_to_a_question_lie_in_no_padding() -> None:
    """Start and end of padding count neither for divergences nor for what is the answer."""
    torch.manual_seed(0)
    model = AutoModelForQuestionAnswering.from_config(copy.deepcopy(CONFIGS["bert"]))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8.0)
    prepare_qat(model)
    calibrate(model, [padded(TEXTS)])
    short, long = (measure_sensitivity(model, [padded(TEXTS, width)])[0] for width in (20, 30))
    assert short.divergence == pytest.approx(long.divergence, rel=1e-4)
    assert short.changed == long.changed
    start, _ = answers_of(model, [padded(TEXTS, 30)])[0]
    assert all(int(row.argmax()) < len(text) for row, text in zip(start, TEXTS, strict=True))
