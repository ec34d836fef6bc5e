import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pruneofa.distillation.losses import soft_cross_entropy
from pruneofa.distillation.vocabulary import VocabularyRows, vocabulary_losses
from pruneofa.errors import ConfigurationError

WIDTH, VOCABULARY = 12, 50


def numbers(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def student_rows(rows: int, bias: bool = True) -> VocabularyRows:
    parts = [
        numbers(rows, WIDTH, seed=1),
        numbers(VOCABULARY, WIDTH, seed=2, scale=0.7),
        numbers(VOCABULARY, seed=3) if bias else None,
    ]
    return VocabularyRows(*(None if part is None else part.requires_grad_() for part in parts))  # type: ignore[arg-type]


def teacher_rows(rows: int, width: int = 2 * WIDTH) -> VocabularyRows:
    return VocabularyRows(numbers(rows, width, seed=4), numbers(VOCABULARY, width, seed=5), numbers(VOCABULARY, seed=6))


def some_labels(rows: int, share: float) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    labels = torch.randint(VOCABULARY, (rows,), generator=generator)
    return torch.where(torch.rand(rows, generator=generator) < share, labels, -100)


def logits_of(rows: VocabularyRows) -> Tensor:
    return rows.hidden if rows.weight is None else F.linear(rows.hidden, rows.weight, rows.bias)


def plain(
    student: VocabularyRows, teacher: VocabularyRows | None, labels: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Both sums by the formulas on whole logits."""
    task = F.cross_entropy(logits_of(student), labels, ignore_index=-100, reduction="sum")
    if teacher is None:
        return task, torch.zeros(())
    return task, soft_cross_entropy(logits_of(student), logits_of(teacher), temperature) * len(labels)


def gradients(rows: VocabularyRows, loss: Tensor) -> list[Tensor]:
    inputs = [part for part in (rows.hidden, rows.weight, rows.bias) if part is not None]
    return list(torch.autograd.grad(loss, inputs))


@given(
    rows=st.integers(1, 40),
    chunk=st.integers(1, 45),
    share=st.sampled_from([0.0, 0.15, 1.0]),
    with_teacher=st.booleans(),
    bias=st.booleans(),
    temperature=st.sampled_from([1.0, 2.0, 5.5]),
)
@settings(max_examples=60, deadline=None)
def test_sums_and_gradients_are_those_of_the_plain_formulas(
    rows: int, chunk: int, share: float, with_teacher: bool, bias: bool, temperature: float
) -> None:
    student, labels = student_rows(rows, bias), some_labels(rows, share)
    teacher = teacher_rows(rows) if with_teacher else None
    task, distillation = plain(student, teacher, labels, temperature)
    wanted = gradients(student, 0.3 * task + 0.2 * distillation)
    found = vocabulary_losses(
        student, labels, teacher, task_weight=0.3, distillation_weight=0.2, temperature=temperature, chunk_rows=chunk
    )
    assert torch.allclose(found.task, task, rtol=1e-5, atol=1e-5)
    assert torch.allclose(found.distillation, distillation, rtol=1e-5, atol=1e-4)
    assert torch.allclose(found.weighted, 0.3 * task + 0.2 * distillation, rtol=1e-5, atol=1e-4)
    for mine, theirs in zip(gradients(student, found.weighted), wanted, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_gradient_follows_what_is_done_with_the_loss() -> None:
    student, labels = student_rows(9), some_labels(9, 0.5)
    once = gradients(student, vocabulary_losses(student, labels, teacher_rows(9), chunk_rows=4).weighted)
    scaled = gradients(student, vocabulary_losses(student, labels, teacher_rows(9), chunk_rows=4).weighted * -2.5)
    for plain_one, other in zip(once, scaled, strict=True):
        assert torch.allclose(plain_one * -2.5, other, rtol=1e-6)


def test_logits_themselves_may_stand_for_the_rows() -> None:
    whole, labels, teacher = student_rows(11), some_labels(11, 0.4), teacher_rows(11)
    logits = logits_of(whole).detach().requires_grad_()
    student = VocabularyRows(logits)
    task, distillation = plain(student, teacher, labels, 2.0)
    (wanted,) = gradients(student, task + distillation)
    taught = VocabularyRows(logits_of(teacher))
    found = vocabulary_losses(student, labels, taught, temperature=2.0, chunk_rows=3)
    assert torch.allclose(found.weighted, task + distillation, rtol=1e-5)
    (mine,) = gradients(student, found.weighted)
    assert torch.allclose(mine, wanted, rtol=1e-4, atol=1e-6)


def test_no_rows_give_nothing() -> None:
    student = student_rows(0)
    found = vocabulary_losses(student, some_labels(0, 1.0), teacher_rows(0))
    assert [float(part.detach()) for part in (found.weighted, found.task, found.distillation)] == [0.0, 0.0, 0.0]
    assert not any(bool(part.any()) for part in gradients(student, found.weighted))


def with_padding(rows: VocabularyRows, count: int) -> VocabularyRows:
    """The same rows with some behind them that stand for nothing."""
    filling = numbers(count, rows.hidden.shape[-1], seed=8)
    hidden = torch.cat([rows.hidden.detach(), filling]).requires_grad_(rows.hidden.requires_grad)
    return VocabularyRows(hidden, rows.weight, rows.bias, padding=count)


@given(
    rows=st.integers(0, 40),
    padding=st.integers(1, 30),
    teachers_padding=st.sampled_from([0, 5]),
    chunk=st.integers(1, 45),
    with_teacher=st.booleans(),
    of_logits=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_padding_counts_nowhere(
    rows: int, padding: int, teachers_padding: int, chunk: int, with_teacher: bool, of_logits: bool
) -> None:
    student, labels = student_rows(rows), some_labels(rows, 0.3)
    if of_logits:
        student = VocabularyRows(logits_of(student).detach().requires_grad_())
    teacher = teacher_rows(rows) if with_teacher else None
    arguments = {"task_weight": 0.3, "distillation_weight": 0.2, "temperature": 2.0, "chunk_rows": chunk}
    wanted = vocabulary_losses(student, labels, teacher, **arguments)  # type: ignore[arg-type]
    padded = with_padding(student, padding)
    taught = teacher if teacher is None else with_padding(teacher, teachers_padding)
    found = vocabulary_losses(padded, labels, taught, **arguments)  # type: ignore[arg-type]
    for mine, theirs in zip((found.weighted, found.task, found.distillation), vars(wanted).values(), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-5)
    of_hidden, *others = gradients(padded, found.weighted)
    expected, *rest = gradients(student, wanted.weighted)
    assert not of_hidden[rows:].any()
    for mine, theirs in zip((of_hidden[:rows], *others), (expected, *rest), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_there_must_be_a_label_for_every_row() -> None:
    with pytest.raises(ConfigurationError, match="the student predicts 6 tokens, but there are 5 labels"):
        vocabulary_losses(student_rows(6), some_labels(5, 1.0))


def test_what_is_frozen_gets_no_gradient() -> None:
    student = student_rows(6)
    frozen = VocabularyRows(student.hidden, student.weight.detach(), student.bias.detach())  # type: ignore[union-attr]
    loss = vocabulary_losses(frozen, some_labels(6, 1.0), teacher_rows(6)).weighted
    (mine,) = torch.autograd.grad(loss, [student.hidden])
    task, distillation = plain(student, teacher_rows(6), some_labels(6, 1.0), 1.0)
    assert torch.allclose(mine, gradients(student, task + distillation)[0], rtol=1e-4, atol=1e-6)


def test_without_gradients_none_are_computed() -> None:
    student, labels = student_rows(6), some_labels(6, 1.0)
    with torch.no_grad():
        found = vocabulary_losses(student, labels)
    assert not found.weighted.requires_grad
    assert torch.allclose(found.task, plain(student, None, labels, 1.0)[0], rtol=1e-5)


def test_gradients_can_be_had_only_once() -> None:
    student = student_rows(4)
    loss = vocabulary_losses(student, some_labels(4, 1.0)).weighted
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="can be asked for only once"):
        loss.backward()


def test_bfloat16_products_are_those_of_autocast() -> None:
    student, teacher, labels = student_rows(20), teacher_rows(20), some_labels(20, 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        task, distillation = plain(student, teacher, labels, 2.0)
        wanted = gradients(student, task + distillation)
        found = vocabulary_losses(student, labels, teacher, temperature=2.0, chunk_rows=7)
    assert found.weighted.dtype == torch.float32
    # Eight bits of mantissa; sums of 20 rows.
    assert torch.allclose(found.weighted, task + distillation, rtol=2e-2)
    for mine, theirs in zip(gradients(student, found.weighted), wanted, strict=True):
        assert mine.dtype == torch.float32
        assert torch.allclose(mine, theirs, rtol=5e-2, atol=3e-2 * float(theirs.abs().max()))


@pytest.mark.parametrize(
    "teacher",
    [
        teacher_rows(5),
        VocabularyRows(numbers(6, WIDTH, seed=1), numbers(VOCABULARY + 1, WIDTH, seed=2)),
    ],
)
def test_other_rows_or_another_vocabulary_are_refused(teacher: VocabularyRows) -> None:
    with pytest.raises(ConfigurationError, match="student predicts 6 tokens of a vocabulary of 50, the teacher"):
        vocabulary_losses(student_rows(6), some_labels(6, 1.0), teacher)


def test_logits_of_the_whole_batch_are_never_held() -> None:
    """Of what the losses allocate, nothing is larger than the chunk that was asked for and the weight's gradient."""
    rows, chunk = 512, 16
    student, teacher, labels = student_rows(rows), teacher_rows(rows), some_labels(rows, 0.2)

    class Sizes(torch.overrides.TorchFunctionMode):
        largest = 0

        def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = function(*args, **(kwargs or {}))
            for value in result if isinstance(result, tuple) else (result,):
                if isinstance(value, Tensor) and value.shape[-1:] == (VOCABULARY,):
                    self.largest = max(self.largest, value.numel())
            return result

    with Sizes() as sizes:
        loss = vocabulary_losses(student, labels, teacher, chunk_rows=chunk)
    assert sizes.largest == chunk * VOCABULARY
    assert float(loss.weighted.detach()) > 0.0
