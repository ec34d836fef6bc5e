"""Shapes and token ids."""

import numpy as np
import pytest

from pruneofa.benchmarking.inputs import Shape, make_inputs, shapes_of
from pruneofa.errors import ConfigurationError


def test_every_batch_with_every_length():
    assert shapes_of((1, 16), (128, 384), None) == [Shape(1, 128), Shape(1, 384), Shape(16, 128), Shape(16, 384)]
    assert shapes_of((1, 16), (128, 384), 512, max_tokens=2048) == [Shape(1, 128), Shape(1, 384), Shape(16, 128)]


def test_a_length_beyond_the_model_is_told():
    with pytest.raises(ConfigurationError, match="lengths: is 384, this model takes 128 tokens at most; give less"):
        shapes_of((1,), (128, 384), 128)
    with pytest.raises(ConfigurationError, match="max_tokens: is 4, which leaves out all of 1 x 8"):
        shapes_of((1,), (8,), None, max_tokens=4)


@pytest.mark.parametrize("vocabulary", [2, 60, 30522])
def test_inputs_fit_the_model_and_are_the_same_each_time(vocabulary):
    first, again = (make_inputs(Shape(2, 16), 3, vocabulary, seed=4) for _ in range(2))
    assert len(first) == 3
    for one, other in zip(first, again, strict=True):
        assert one["input_ids"].shape == one["attention_mask"].shape == one["token_type_ids"].shape == (2, 16)
        assert one["input_ids"].min() >= min(1000, vocabulary // 2)
        assert one["input_ids"].max() < vocabulary
        assert one["attention_mask"].all()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    if vocabulary > 2:
        assert not np.array_equal(first[0]["input_ids"], first[1]["input_ids"])
        assert not np.array_equal(first[0]["input_ids"], make_inputs(Shape(2, 16), 1, vocabulary, 5)[0]["input_ids"])
