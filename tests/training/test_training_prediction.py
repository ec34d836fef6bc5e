from typing import Any

import numpy as np
import pytest
import torch
from training_runs import Reviews, bert
from transformers import BertForSequenceClassification

from pruneofa.data.batches.batching import PaddingCollator
from pruneofa.errors import DataError
from pruneofa.training.prediction import WithTeacherLogits, predict_logits


@pytest.fixture
def model() -> Any:
    return bert(BertForSequenceClassification, 3, dropout=0.5)


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_logits_come_in_the_order_of_the_data(model: Any, batch_size: int) -> None:
    data = Reviews(23)
    found = predict_logits(model, data, PaddingCollator(0), batch_size=batch_size)
    model.eval()
    with torch.no_grad():
        alone = [model(input_ids=torch.tensor([data[index]["input_ids"]])).logits[0].numpy() for index in range(23)]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.stack(alone), rtol=1e-4, atol=1e-5)
    assert len(np.unique(found[:, 0])) == 23


@pytest.mark.parametrize("training", [True, False])
def test_model_goes_back_to_the_mode_it_was_in(model: Any, training: bool) -> None:
    model.train(training)
    first = predict_logits(model, Reviews(6), PaddingCollator(0))
    assert model.training is training
    assert np.array_equal(first, predict_logits(model, Reviews(6), PaddingCollator(0)))  # no dropout

    class BrokenError(Exception):
        pass

    def fail(examples: Any) -> Any:
        raise BrokenError

    with pytest.raises(BrokenError):
        predict_logits(model, Reviews(6), fail)
    assert model.training is training


def test_bfloat16_is_close_and_comes_out_as_float32(model: Any) -> None:
    exact = predict_logits(model, Reviews(6), PaddingCollator(0))
    rough = predict_logits(model, Reviews(6), PaddingCollator(0), bfloat16=True)
    assert rough.dtype == np.float32
    assert not np.array_equal(exact, rough)
    np.testing.assert_allclose(rough, exact, atol=0.05 * np.abs(exact).max())


def test_examples_carry_their_own_teacher_logits(model: Any) -> None:
    data = Reviews(9)
    logits = predict_logits(model, data, PaddingCollator(0))
    taught = WithTeacherLogits(data, {"logits": logits})
    assert len(taught) == 9
    assert np.array_equal(taught.lengths, data.lengths)
    for index in (0, 4, 8):
        assert taught[(3, index)] == taught[index] == {**data[index], "teacher_logits": logits[index].tolist()}
    batch = PaddingCollator(0)([taught[(0, index)] for index in range(9)])
    assert np.array_equal(batch["teacher_logits"].numpy(), logits)
    # They are no input of a model.
    assert np.array_equal(predict_logits(model, taught, PaddingCollator(0)), logits)


def test_logits_of_other_examples_are_refused() -> None:
    with pytest.raises(DataError, match="there are 3 rows of teacher logits for 9 examples; compute them on these"):
        WithTeacherLogits(Reviews(9), {"logits": np.zeros((3, 2), np.float32)})
