import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from pruneofa.distillation.losses import attention_mse, hidden_cosine, hidden_mse, prediction_loss, soft_cross_entropy
from pruneofa.errors import ConfigurationError

PADDED = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(
    rows=st.integers(1, 6),
    classes=st.integers(2, 9),
    temperature=st.floats(0.25, 10),
    scale=st.floats(0.1, 20),
    seed=st.integers(0, 1_000),
)
def test_is_the_divergence_of_scipy(rows: int, classes: int, temperature: float, scale: float, seed: int) -> None:
    student, teacher = scale * random(rows, classes, seed=seed), scale * random(rows, classes, seed=seed + 1)
    p = softmax(teacher.double().numpy() / temperature, axis=1)
    log_q = log_softmax(student.double().numpy() / temperature, axis=1)
    expected = temperature**2 * np.mean(np.sum(p * (np.log(p) - log_q), axis=1))
    assert float(soft_cross_entropy(student, teacher, temperature)) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_is_the_divergence_of_teacher_and_student_in_that_order() -> None:
    student, teacher = torch.tensor([[0.0, 1.0, 3.0]]), torch.tensor([[2.0, 0.0, 0.0]])
    expected = entropy(softmax(teacher.numpy()[0]), softmax(student.numpy()[0]))
    assert float(soft_cross_entropy(student, teacher, 1.0)) == pytest.approx(expected, rel=1e-6)


def test_is_zero_for_equal_logits_up_to_a_constant() -> None:
    logits = random(5, 7)
    assert abs(float(soft_cross_entropy(logits + 3.0, logits, 2.0))) < 1e-6


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.5])
def test_gradient_is_t_times_the_difference_of_probabilities(temperature: float) -> None:
    student, teacher = random(4, 6).requires_grad_(), random(4, 6, seed=1)
    soft_cross_entropy(student, teacher, temperature).backward()
    difference = (student.detach() / temperature).softmax(-1) - (teacher / temperature).softmax(-1)
    assert torch.allclose(student.grad, temperature * difference / 4, atol=1e-6)


def test_gradient_keeps_its_size_at_high_temperature() -> None:
    """Hinton et al.: in the limit it is (z - v) / classes, for logits of zero mean, at any temperature."""
    student, teacher = random(1, 6).requires_grad_(), random(1, 6, seed=1)
    soft_cross_entropy(student, teacher, 1_000.0).backward()
    centred = (student.detach() - student.detach().mean()) - (teacher - teacher.mean())
    assert torch.allclose(student.grad, centred / 6, atol=2e-3)


def test_no_rows_give_zero_and_a_gradient() -> None:
    student = torch.zeros(0, 5, requires_grad=True)
    loss = soft_cross_entropy(student, torch.zeros(0, 5), 2.0)
    loss.backward()
    assert loss.item() == 0.0


def test_bfloat16_logits_are_compared_in_float32() -> None:
    student, teacher = random(4, 6).bfloat16(), random(4, 6, seed=1).bfloat16()
    loss = soft_cross_entropy(student, teacher, 2.0)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, soft_cross_entropy(student.float(), teacher.float(), 2.0))


def test_other_classes_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"shape \(2, 3\), the teacher's \(2, 4\); both must predict the same"):
        soft_cross_entropy(random(2, 3), random(2, 4), 2.0)


def test_cosine_of_tokens_that_are_no_padding() -> None:
    student, teacher = random(2, 4, 5), random(2, 4, 5, seed=1)
    terms = [
        1 - float(student[b, t] @ teacher[b, t]) / float(student[b, t].norm() * teacher[b, t].norm())
        for b, t in [(0, 0), (0, 1), (0, 2), (1, 0)]
    ]
    assert float(hidden_cosine(student, teacher, PADDED)) == pytest.approx(math.fsum(terms) / 4, rel=1e-5)


def test_squares_of_tokens_that_are_no_padding() -> None:
    student, teacher = random(2, 4, 5), random(2, 4, 5, seed=1)
    squares = torch.stack([(student[b, t] - teacher[b, t]) ** 2 for b, t in [(0, 0), (0, 1), (0, 2), (1, 0)]])
    assert float(hidden_mse(student, teacher, PADDED)) == pytest.approx(float(squares.mean()), rel=1e-5)


def test_squares_of_attention_between_tokens_that_are_no_padding() -> None:
    student, teacher = random(2, 3, 4, 4).softmax(-1), random(2, 3, 4, 4, seed=1).softmax(-1)
    squares = torch.cat(
        [((student - teacher)[0, :, :3, :3] ** 2).flatten(), ((student - teacher)[1, :, :1, :1] ** 2).flatten()]
    )
    assert float(attention_mse(student, teacher, PADDED)) == pytest.approx(float(squares.mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "what", "mine", "theirs"),
    [
        (hidden_cosine, "hidden size", (2, 4, 5), (2, 4, 6)),
        (hidden_mse, "hidden size", (2, 4, 5), (2, 4, 1)),
        (attention_mse, "number of heads", (2, 3, 4, 4), (2, 1, 4, 4)),
    ],
)
def test_other_widths_are_refused(loss, what: str, mine: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match=f"both must have the same {what}"):
        loss(random(*mine), random(*theirs), PADDED)


def test_a_number_is_learned_by_its_squared_error():
    student, teacher = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [5.0]])
    assert prediction_loss(student, teacher, 2.0) == pytest.approx(2.5)
    wide = torch.randn(3, 4), torch.randn(3, 4)
    assert torch.equal(prediction_loss(*wide, 2.0), soft_cross_entropy(*wide, 2.0))
    with pytest.raises(ConfigurationError, match="both must predict a number for the same rows"):
        prediction_loss(student, teacher[:1], 2.0)
