from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification

from pruneofa.data.batches.batching import PaddingCollator
from pruneofa.models.prediction import predict


class Reviews(Dataset[dict[str, Any]]):
    """Made-up sequences of different lengths."""

    def __init__(self, count: int) -> None:
        random = np.random.default_rng(1)
        self.lengths = random.integers(6, 14, count)
        self._ids = [random.integers(5, 50, length).tolist() for length in self.lengths]

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self._ids[index], "attention_mask": [1] * self.lengths[index], "label": index % 2}


def predict_logits(model: Any, data: Any, collator: Any, **settings: Any) -> Any:
    return np.stack(predict(model, data, collator, ("logits",), **settings)["logits"])


@pytest.fixture
def model() -> Any:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    torch.manual_seed(3)
    model = BertForSequenceClassification(
        BertConfig(vocab_size=50, max_position_embeddings=16, hidden_dropout_prob=0.5, **sizes)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4.0)  # so that answers differ
    return model


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
