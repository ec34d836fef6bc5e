import numpy as np
import pytest
from training_runs import Reviews, bert
from transformers import BertForSequenceClassification

from pruneofa.data.batches.batching import PaddingCollator
from pruneofa.errors import DataError
from pruneofa.models.prediction import predict
from pruneofa.training.teacher_logits import WithTeacherLogits


def test_examples_carry_their_own_teacher_logits() -> None:
    model = bert(BertForSequenceClassification, 3)
    data = Reviews(9)
    logits = np.stack(predict(model, data, PaddingCollator(0), ("logits",))["logits"])
    taught = WithTeacherLogits(data, {"logits": logits})
    assert len(taught) == 9
    assert np.array_equal(taught.lengths, data.lengths)
    for index in (0, 4, 8):
        assert taught[(3, index)] == taught[index] == {**data[index], "teacher_logits": logits[index].tolist()}
    batch = PaddingCollator(0)([taught[(0, index)] for index in range(9)])
    assert np.array_equal(batch["teacher_logits"].numpy(), logits)
    # They are no input of a model.
    assert np.array_equal(predict(model, taught, PaddingCollator(0), ("logits",))["logits"], logits)


def test_logits_of_other_examples_are_refused() -> None:
    with pytest.raises(DataError, match="there are 3 rows of teacher logits for 9 examples; compute them on these"):
        WithTeacherLogits(Reviews(9), {"logits": np.zeros((3, 2), np.float32)})
