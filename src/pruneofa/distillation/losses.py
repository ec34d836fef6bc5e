"""Losses between a student and its teacher. Teachers' tensors carry no gradient."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from pruneofa.errors import ConfigurationError


def soft_cross_entropy(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """`T^2 * KL(teacher || student)` at temperature T, summed over classes, mean over rows (Hinton et al. 2015).

    The factor keeps the gradient's size independent of the temperature (PruneOFA, section 3).

    Args:
        student_logits: `[rows, classes]`.
        teacher_logits: `[rows, classes]`.
        temperature: T > 0.

    Returns:
        A scalar in float32; zero for no rows.

    Raises:
        ConfigurationError: the shapes differ.
    """
    _check_same_shape("logits", student_logits, teacher_logits, "predict the same classes for the same rows")
    if student_logits.shape[0] == 0:
        return student_logits.sum().float() * 0.0
    student = F.log_softmax(student_logits.float() / temperature, dim=-1)
    teacher = F.log_softmax(teacher_logits.float() / temperature, dim=-1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def prediction_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """What a student learns from its teacher's predictions: `soft_cross_entropy`, or of one number its squared error.

    A regression's single output is no logit; a softmax over it would teach nothing.

    Args:
        student_logits: `[rows, classes]`, or `[rows, 1]` for a number each.
        teacher_logits: of the same shape.
        temperature: T > 0; without meaning for numbers.

    Raises:
        ConfigurationError: the shapes differ.
    """
    if student_logits.shape[-1] != 1:
        return soft_cross_entropy(student_logits, teacher_logits, temperature)
    _check_same_shape("predictions", student_logits, teacher_logits, "predict a number for the same rows")
    return F.mse_loss(student_logits.float(), teacher_logits.float())


def hidden_cosine(student: Tensor, teacher: Tensor, attention_mask: Tensor) -> Tensor:
    """`1 - cos` between hidden states of the same token, mean over tokens that are no padding (DistilBERT).

    Args:
        student: `[batch, length, hidden]`.
        teacher: `[batch, length, hidden]`.
        attention_mask: `[batch, length]`, non-zero where there is a token.

    Raises:
        ConfigurationError: the shapes differ.
    """
    _check_same_shape("hidden states", student, teacher, "have the same hidden size")
    kept = attention_mask.bool()
    return (1.0 - F.cosine_similarity(student[kept].float(), teacher[kept].float(), dim=-1)).mean()


def hidden_mse(student: Tensor, teacher: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean squared difference of hidden states over tokens that are no padding (TinyBERT, equation 8).

    Shapes as in `hidden_cosine`.
    """
    _check_same_shape("hidden states", student, teacher, "have the same hidden size")
    kept = attention_mask.bool()
    return F.mse_loss(student[kept].float(), teacher[kept].float())


def hidden_normalized_mse(student: Tensor, teacher: Tensor, attention_mask: Tensor) -> Tensor:
    """`hidden_mse` divided by the teacher's mean square, so that every layer counts alike (SquareHead, 2310.06927).

    Shapes as in `hidden_cosine`.
    """
    energy = teacher[attention_mask.bool()].float().square().mean()
    return hidden_mse(student, teacher, attention_mask) / energy.clamp_min(1e-12)


def attention_mse(student: Tensor, teacher: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean squared difference of attention probabilities between tokens that are no padding (TinyBERT, equation 7).

    Args:
        student: `[batch, heads, length, length]`.
        teacher: `[batch, heads, length, length]`.
        attention_mask: `[batch, length]`.

    Raises:
        ConfigurationError: the shapes differ.
    """
    _check_same_shape("attentions", student, teacher, "have the same number of heads")
    kept = attention_mask.bool()
    pairs = (kept[:, None, :, None] & kept[:, None, None, :]).expand_as(student)
    return F.mse_loss(student.float()[pairs], teacher.float()[pairs])


def _check_same_shape(what: str, student: Tensor, teacher: Tensor, remedy: str) -> None:
    if student.shape != teacher.shape:
        raise ConfigurationError(
            f"the student's {what} have shape {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}; "
            f"both must {remedy}"
        )
