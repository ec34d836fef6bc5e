"""Answers of a float model beside those of its int8 form."""

import copy

import pytest
import torch
from quantization_models import CONFIGS, classifier, tokens
from transformers import AutoModel, AutoModelForQuestionAnswering, AutoModelForTokenClassification

from pruneofa.errors import ConfigurationError
from pruneofa.quantization.answers import answers_of, cost_between, float_answers

MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
BATCH = {"input_ids": torch.tensor([[5, 6, 7, 1], [8, 9, 1, 1]]), "attention_mask": MASK}


def one(*rows: list[float]) -> list[tuple[torch.Tensor, ...]]:
    return [(torch.tensor(rows, dtype=torch.float64),)]


def test_labels_are_counted_and_probabilities_compared() -> None:
    cost = cost_between(one([2.0, 0.0], [0.0, 1.0], [3.0, 0.0]), one([2.0, 0.0], [0.0, 1.0], [0.0, 0.0 + 1e-9]))
    assert (cost.kind, cost.examples) == ("labels", 3)
    assert cost.agreement == pytest.approx(2 / 3)
    assert cost.largest_change == pytest.approx(torch.tensor(3.0).sigmoid().item() - 0.5, abs=1e-6)
    assert cost.text.startswith("int8 gives the float model's label to 66.7 % of 3 examples")
    assert cost.as_dict()["text"] == cost.text


def test_equal_answers_cost_nothing() -> None:
    for answer in (one([1.0, 2.0]), one([1.5], [2.5]), [(torch.ones(2, 3, 1),)], one([4.0])):
        cost = cost_between(answer, answer)
        assert cost.agreement == pytest.approx(1.0)
        assert cost.largest_change == pytest.approx(0.0, abs=1e-6)


def test_answers_that_are_no_numbers_cost_everything() -> None:
    cost = cost_between(one([1.0, 2.0]), one([float("nan"), 2.0]))
    assert cost.largest_change == float("inf")
    assert not cost_between(one([1.0], [2.0]), one([float("nan")], [2.0])).agreement >= 0.95


def test_several_labels_change_where_any_does() -> None:
    cost = cost_between(one([1.0, 2.0], [1.0, -2.0]), one([2.0, 3.0], [1.0, 2.0]), several_labels=True)
    assert (cost.kind, cost.agreement) == ("label sets", 0.5)


def test_numbers_have_a_correlation() -> None:
    before, after = torch.tensor([1.0, 2.0, 3.0, 4.5]), torch.tensor([1.1, 1.9, 3.3, 4.0])
    cost = cost_between([(before[:2, None],), (before[2:, None],)], [(after[:2, None],), (after[2:, None],)])
    assert cost.kind == "numbers"
    assert cost.agreement == pytest.approx(torch.corrcoef(torch.stack([before, after]))[0, 1].item())
    assert cost.largest_change == pytest.approx(0.5)


def test_an_answer_to_a_question_is_its_start_and_its_end() -> None:
    start, end = torch.eye(3).double(), torch.eye(3).flip(1).double()
    moved = end.clone()
    moved[0] = torch.tensor([9.0, 0.0, 0.0])
    cost = cost_between([(start, end)], [(start, moved)])
    assert (cost.kind, cost.examples) == ("answers", 3)
    assert cost.agreement == pytest.approx(2 / 3)


def test_vectors_have_a_cosine() -> None:
    before, after = torch.tensor([[1.0, 0.0], [0.0, 2.0]])[..., None], torch.tensor([[2.0, 0.0], [1.0, 1.0]])[..., None]
    cost = cost_between([(before,)], [(after,)])
    assert cost.agreement == pytest.approx((1 + 0.5**0.5) / 2)
    assert cost.largest_change == pytest.approx(1 - 0.5**0.5)
    assert "mean cosine of 0.8536" in cost.text


def test_without_examples_there_is_nothing_to_compare() -> None:
    with pytest.raises(ConfigurationError, match="give some texts"):
        cost_between([], [])


def test_a_model_without_a_head_answers_with_the_mean_of_its_tokens() -> None:
    torch.manual_seed(0)
    model = AutoModel.from_config(copy.deepcopy(CONFIGS["bert"])).train()
    [(vectors,)] = float_answers(model, [BATCH])
    assert model.training
    hidden = model.eval()(**BATCH).last_hidden_state.detach().double()
    expected = torch.stack([hidden[0, :3].mean(0), hidden[1, :2].mean(0)])
    torch.testing.assert_close(vectors[..., 0], expected)


def test_of_labels_for_tokens_each_token_but_padding_is_an_example() -> None:
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_config(copy.deepcopy(CONFIGS["bert"]))
    [(logits,)] = float_answers(model, [BATCH])
    assert logits.shape == (5, 2)


def test_padding_is_no_place_of_an_answer() -> None:
    torch.manual_seed(0)
    model = AutoModelForQuestionAnswering.from_config(copy.deepcopy(CONFIGS["bert"]))
    [(start, end)] = float_answers(model, [BATCH])
    assert (start[MASK == 0] == -1e4).all() and (end[MASK == 0] == -1e4).all()
    assert (start[MASK == 1] > -1e3).all()


def test_labels_are_not_given_to_the_model() -> None:
    model = classifier("bert").eval()
    batch = {"input_ids": tokens(0), "labels": torch.full((4,), 99)}
    with torch.no_grad():
        assert answers_of(model, [batch])[0][0].shape == (4, 2)
