"""Whether answers are those of the same model."""

import numpy as np
import pytest

from pruneofa.benchmarking.agreement import compare


def answers(*rows, name="logits"):
    return [{name: np.array(rows, dtype=np.float32)}]


def test_equal_answers_agree():
    found = compare(answers([1.0, -2.0], [0.5, 0.25]), answers([1.0, -2.0], [0.5, 0.25]))
    assert found is not None and found.holds
    assert (found.difference, found.largest, found.relative, found.same) == (0.0, 2.0, 0.0, 1.0)


def test_rounding_agrees_and_one_label_may_differ():
    found = compare(answers([1.0, -2.0], [0.50, 0.51]), answers([1.1, -2.1], [0.55, 0.50]))
    assert found is not None and found.holds
    assert found.difference == pytest.approx(0.1)
    assert found.same == 0.5


@pytest.mark.parametrize("other", [([-1.0, 2.0], [2.0, 0.0]), ([0.0, 0.0], [0.0, 0.0]), ([9.0, -9.0], [9.0, 9.0])])
def test_another_model_does_not(other):
    found = compare(answers([1.0, -2.0], [0.5, 0.25]), answers(*other))
    assert found is not None and not found.holds


@pytest.mark.parametrize(
    "other",
    [
        answers([1.0, -2.0]),
        answers([1.0, -2.0], [0.5, 0.25], name="last_hidden_state"),
        answers([1.0, -2.0], [0.5, np.nan]),
        answers([1.0, -2.0], [0.5, np.inf]),
    ],
)
def test_other_shapes_names_and_no_numbers_are_refused(other):
    assert compare(answers([1.0, -2.0], [0.5, 0.25]), other) is None


def test_zeros_agree_with_zeros_alone():
    nothing = answers([0.0, 0.0])
    same, other = compare(nothing, nothing), compare(nothing, answers([0.0, 1.0]))
    assert same is not None and same.holds
    assert other is not None and not other.holds
