"""Losses over the vocabulary without its logits ever being whole: some rows at a time, gradients on the way.

The logits of a batch outweigh all else in memory (4,096 tokens of a vocabulary of 30,522: 500 MB for each copy, and the
plain formulas hold about eight). Here each chunk of rows is multiplied, compared and differentiated before the next
one, in the forward pass; nothing is computed twice.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd.function import once_differentiable

from pruneofa.errors import ConfigurationError

__all__ = ["CHUNK_BYTES", "IGNORED_LABEL", "ROW_MULTIPLE", "VocabularyLosses", "VocabularyRows", "vocabulary_losses"]

IGNORED_LABEL = -100
# Large enough for the products to run at full speed, small enough for the copies of a chunk to be no matter.
CHUNK_BYTES = 2**26
"""Float32 logits that are held at a time."""

ROW_MULTIPLE = 64
"""Rows are filled up to a multiple of this. The number of tokens that count differs from batch to batch, and on a CPU
each new number of rows costs the products' library a megabyte of memory that it keeps."""

# On a CPU the float32 copies are of so few rows that they stay in the cache; elsewhere each step is a kernel to launch.
_BLOCK_ROWS = 16


@dataclass(frozen=True)
class VocabularyRows:
    """What a model's prediction of tokens is before its last product.

    Attributes:
        hidden: `[rows, width]`, input of the last Linear; the logits `[rows, vocabulary]` themselves without `weight`.
        weight: `[vocabulary, width]`, or None.
        bias: `[vocabulary]`, or None.
        padding: how many of the last rows stand for no token; they count nowhere.
    """

    hidden: Tensor
    weight: Tensor | None = None
    bias: Tensor | None = None
    padding: int = 0

    def __len__(self) -> int:
        """Tokens that are predicted."""
        return len(self.hidden) - self.padding

    @property
    def vocabulary(self) -> int:
        """Number of tokens that can be predicted."""
        return int(self.hidden.shape[-1] if self.weight is None else self.weight.shape[0])

    def product_dtype(self) -> torch.dtype:
        """The precision that the product has outside of this module: that of autocast, where it is on."""
        device = self.hidden.device.type
        if torch.is_autocast_enabled(device):
            return torch.get_autocast_dtype(device)
        return self.hidden.dtype if self.weight is None else self.weight.dtype

    def detached(self) -> "VocabularyRows":
        """The same numbers without gradients, in the precision of the product."""
        dtype = self.product_dtype()
        parts = (None if part is None else part.detach().to(dtype) for part in self._parts())
        return VocabularyRows(*parts, padding=self.padding)  # type: ignore[arg-type,misc]

    def logits(self, rows: slice, divisor: float = 1.0) -> Tensor:
        """Logits of some rows over `divisor`, in the precision of the product, in memory of their own."""
        hidden = self.hidden[rows]
        if self.weight is None:
            return hidden / divisor
        if divisor == 1.0:
            return F.linear(hidden, self.weight, self.bias)
        return F.linear(hidden / divisor, self.weight, None if self.bias is None else self.bias / divisor)

    def _parts(self) -> tuple[Tensor | None, ...]:
        return self.hidden, self.weight, self.bias


@dataclass(frozen=True)
class VocabularyLosses:
    """Scalars in float32.

    Attributes:
        weighted: `task_weight * task + distillation_weight * distillation`; the only one with a gradient.
        task: cross-entropy, summed over the rows that have a label.
        distillation: `T^2 KL(teacher || student)`, summed over the rows.
    """

    weighted: Tensor
    task: Tensor
    distillation: Tensor


def vocabulary_losses(
    student: VocabularyRows,
    labels: Tensor,
    teacher: VocabularyRows | None = None,
    *,
    task_weight: float | Tensor = 1.0,
    distillation_weight: float | Tensor = 1.0,
    temperature: float = 1.0,
    chunk_rows: int | None = None,
) -> VocabularyLosses:
    """Cross-entropy with the labels, and divergence from a teacher, as sums over rows.

    Equal to `F.cross_entropy` and to `soft_cross_entropy` times the number of rows, but for rounding.

    Args:
        student: rows that get a gradient.
        labels: `[rows]`, without padding; -100 where a row counts for the teacher alone.
        teacher: the same rows, of any width; None for the cross-entropy alone.
        task_weight: of the cross-entropy in `weighted`, such as one over the number of labels.
        distillation_weight: of the divergence in `weighted`.
        temperature: T > 0 of the divergence.
        chunk_rows: rows at a time (default: as many as make 64 MiB of logits).

    Raises:
        ConfigurationError: student and teacher differ in rows or vocabulary, or there is not one label for each row.
    """
    if len(labels) != len(student):
        raise ConfigurationError(f"the student predicts {len(student)} tokens, but there are {len(labels)} labels")
    if teacher is not None and (len(student), student.vocabulary) != (len(teacher), teacher.vocabulary):
        raise ConfigurationError(
            f"the student predicts {len(student)} tokens of a vocabulary of {student.vocabulary}, the teacher "
            f"{len(teacher)} of {teacher.vocabulary}; both must predict the same tokens of the same vocabulary"
        )
    settings = _Settings(
        student=student.detached(),
        teacher=None if teacher is None else teacher.detached(),
        labels=labels,
        task_weight=task_weight,
        distillation_weight=distillation_weight,
        temperature=temperature,
        chunk_rows=chunk_rows or _default_chunk_rows(student.vocabulary),
        needs_gradient=torch.is_grad_enabled(),
    )
    return VocabularyLosses(*_ChunkedLosses.apply(student.hidden, student.weight, student.bias, settings))  # type: ignore[no-untyped-call]


def _default_chunk_rows(vocabulary: int) -> int:
    rows = CHUNK_BYTES // (4 * vocabulary)
    return max(1, rows - rows % ROW_MULTIPLE if rows > ROW_MULTIPLE else rows)


@dataclass(frozen=True)
class _Settings:
    student: VocabularyRows
    teacher: VocabularyRows | None
    labels: Tensor
    task_weight: float | Tensor
    distillation_weight: float | Tensor
    temperature: float
    chunk_rows: int
    needs_gradient: bool


class _ChunkedLosses(torch.autograd.Function):
    """The sums, and in the same pass their gradients: the logits of a chunk are gone when the next one comes."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor | None, bias: Tensor | None, settings: _Settings
    ) -> tuple[Tensor, Tensor, Tensor]:
        needed = [settings.needs_gradient and wanted for wanted in ctx.needs_input_grad[:3]]
        # The weight's gradient is a sum over chunks, so it is kept in the weight's own precision.
        gradients = [
            torch.zeros_like(part) if wanted and part is not None else None
            for part, wanted in zip((hidden, weight, bias), needed, strict=True)
        ]
        task = hidden.new_zeros((), dtype=torch.float32)
        distillation = torch.zeros_like(task)
        with torch.autocast(hidden.device.type, enabled=False):
            for begin in range(0, len(hidden), settings.chunk_rows):
                rows = slice(begin, begin + settings.chunk_rows)
                part_task, part_distillation, gradient = _chunk(settings, rows, any(needed))
                task, distillation = task + part_task, distillation + part_distillation
                if gradient is not None:
                    _propagate(settings.student, rows, gradient, gradients)
        ctx.gradients = gradients
        weighted = settings.task_weight * task
        if settings.teacher is not None:
            weighted = weighted + settings.distillation_weight * distillation
        ctx.mark_non_differentiable(task, distillation)
        return weighted, task, distillation

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # not held, so that autograd takes them without a copy
        if gradients is None:
            raise RuntimeError("the gradients of vocabulary_losses can be asked for only once")
        if outer.device.type == "cpu" and float(outer) == 1.0:  # elsewhere asking costs more than multiplying
            return *gradients, None
        return *(None if part is None else part.mul_(outer.to(part.dtype)) for part in gradients), None


def _chunk(settings: _Settings, rows: slice, needs_gradient: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Both sums over some rows, and the gradient of the weighted sum with respect to their logits."""
    labels, teacher = settings.labels[rows], settings.teacher
    count = len(labels)  # what comes behind is padding
    # One product serves both losses: the labelled rows are taken back to temperature 1.
    logits = settings.student.logits(rows, 1.0 if teacher is None else settings.temperature)
    wanted = None if teacher is None else teacher.logits(rows, settings.temperature)
    block = _BLOCK_ROWS if logits.device.type == "cpu" else max(1, count)
    sums = logits.new_zeros(2, dtype=torch.float32)
    for begin in range(0, count, block):
        part = slice(begin, min(begin + block, count))
        theirs = None if wanted is None else wanted[part].float()
        *found, gradient = _compare(settings, logits[part].float(), theirs, labels[part], needs_gradient)
        sums += torch.stack(found)
        if gradient is not None:
            logits[part] = gradient  # what was there is needed no more
    if needs_gradient:
        logits[count:] = 0.0
    return sums[0], sums[1], logits if needs_gradient else None


def _compare(
    settings: _Settings, logits: Tensor, wanted: Tensor | None, labels: Tensor, needs_gradient: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """As `_chunk`, over a few rows.

    Args:
        settings: of the whole.
        logits: the student's in float32, over the temperature where there is a teacher.
        wanted: the teacher's, likewise.
        labels: of these rows.
        needs_gradient: whether it is to be computed.
    """
    temperature = 1.0 if wanted is None else settings.temperature
    task, distillation = logits.new_zeros(2).unbind()
    gradient = torch.zeros_like(logits) if wanted is None and needs_gradient else None
    if wanted is not None:
        mine, theirs = F.softmax(logits, dim=-1), F.softmax(wanted, dim=-1)
        # sum p (t - z) - lse(t) + lse(z): half the exponentials of two logarithmic softmaxes and their exponentials.
        cross = torch.linalg.vecdot(theirs, wanted - logits)
        distillation = (cross - _log_sum(wanted, theirs) + _log_sum(logits, mine)).sum() * temperature**2
        if needs_gradient:
            # d/dz of T^2 KL at temperature T is T (student's probability - teacher's).
            gradient = mine.sub_(theirs).mul_(settings.distillation_weight * temperature)
    known = (labels != IGNORED_LABEL).nonzero().flatten()
    if len(known):
        log_probabilities = F.log_softmax(logits[known] * temperature, dim=-1)
        places = (torch.arange(len(known), device=labels.device), labels[known])
        task = -log_probabilities[places].sum()
        if gradient is not None:
            of_task = log_probabilities.exp_()
            of_task[places] -= 1.0
            gradient.index_add_(0, known, of_task.mul_(settings.task_weight))
    return task, distillation, gradient


def _log_sum(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Logarithm of the summed exponentials of each row, from its softmax: that of the likeliest entry is exact."""
    return logits.amax(-1) - probabilities.amax(-1).log()


def _propagate(student: VocabularyRows, rows: slice, gradient: Tensor, gradients: list[Tensor | None]) -> None:
    """Add a chunk's share to the gradients of hidden states, weight and bias."""
    of_hidden, of_weight, of_bias = gradients
    if of_bias is not None:
        of_bias += gradient.sum(0, dtype=torch.float32)
    if student.weight is None:
        if of_hidden is not None:
            of_hidden[rows] = gradient.to(of_hidden.dtype)
        return
    if of_hidden is not None:
        of_hidden[rows] = (gradient @ student.weight).to(of_hidden.dtype)
    if of_weight is not None:
        if of_weight.dtype == gradient.dtype:
            of_weight.addmm_(gradient.t(), student.hidden[rows])
        else:
            of_weight += gradient.t() @ student.hidden[rows]
