"""What a model answers to some texts, and how far the answers of its quantized form are from them."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from pruneofa.errors import ConfigurationError

__all__ = ["Answer", "Batch", "QuantizationCost", "answers_of", "cost_between", "divergence_between", "float_answers"]

Batch = Mapping[str, Tensor]
"""Keyword arguments of a model's forward, and targets."""

Answer = tuple[Tensor, ...]
"""What a model says to a batch: [examples, classes], [examples, 1] for a number, [examples, width, 1] for a vector; or
two of [examples, length], start and end of an answer. Of a model with labels for tokens, tokens are the examples."""

_SPAN_HEADS = ("start_logits", "end_logits")
# A logit whose probability is zero, and whose logarithm is still finite.
_IMPOSSIBLE = -1e4
_TARGETS = ("labels", "start_positions", "end_positions")


def answers_of(model: nn.Module, batches: Sequence[Batch]) -> list[Answer]:
    """What the model says to each batch, float64 on the CPU; padding has no part in it.

    A place that is padding can't be where an answer starts or ends. A model without a head gives the mean of its
    tokens' vectors.
    """
    device = next(model.parameters()).device
    answers: list[Answer] = []
    for batch in batches:
        output = model(**{name: value.to(device) for name, value in batch.items() if name not in _TARGETS})
        mask = batch.get("attention_mask")
        present = torch.ones(batch["input_ids"].shape, dtype=torch.bool) if mask is None else mask.cpu() != 0
        if hasattr(output, _SPAN_HEADS[0]):
            places = (getattr(output, head).double().cpu() for head in _SPAN_HEADS)
            answers.append(tuple(place.masked_fill(~present, _IMPOSSIBLE) for place in places))
        elif hasattr(output, "logits"):
            logits = output.logits.double().cpu()
            answers.append((logits[present] if logits.dim() == 3 else logits,))
        else:
            vectors = output.last_hidden_state.double().cpu() * present[..., None]
            answers.append(((vectors.sum(1) / present.sum(1, keepdim=True))[..., None],))
    return answers


@torch.no_grad()
def float_answers(model: nn.Module, batches: Sequence[Batch]) -> list[Answer]:
    """`answers_of` a model in eval mode (no dropout); its mode is then as it was."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        return answers_of(model, batches)
    finally:
        for module, was_training in modes.items():
            module.training = was_training


def divergence_between(reference: list[Answer], other: list[Answer]) -> float:
    """Sum over the examples of KL(reference || other) in nats, start and end added; rounding can't make it negative.

    Of numbers it is half the squared difference, the divergence of Gaussians of variance 1.
    """
    total = 0.0
    for answer, against in zip(reference, other, strict=True):
        for before, after in zip(answer, against, strict=True):
            if before.shape[-1] == 1:
                total += float((before - after).square().sum()) / 2
            else:
                total += float(F.kl_div(after.log_softmax(1), before.log_softmax(1), log_target=True, reduction="sum"))
    return max(0.0, total)


@dataclass(frozen=True)
class QuantizationCost:
    """How far the answers of an int8 model are from those of the float model.

    Attributes:
        kind: `labels`, `label sets` (several in a row), `answers` (start and end), `numbers` or `vectors`.
        examples: how many were compared.
        agreement: share of equal labels, label sets or answers; of numbers their correlation, of vectors the mean
            cosine. 1 where nothing changed.
        largest_change: of a probability; of numbers the largest difference; of vectors 1 less the smallest cosine.
    """

    kind: str
    examples: int
    agreement: float
    largest_change: float

    @property
    def text(self) -> str:
        """The cost in words."""
        shares = {
            "labels": "gives the float model's label",
            "label sets": "gives the float model's labels",
            "answers": "gives the float model's answer",
        }
        if self.kind in shares:
            told = f"int8 {shares[self.kind]} to {100 * self.agreement:.1f} % of {self.examples} examples"
            return f"{told}, the largest change of a probability is {self.largest_change:.3f}"
        if self.kind == "numbers":
            told = f"on {self.examples} examples the numbers of int8 and float have a correlation of"
            return f"{told} {self.agreement:.4f}, the largest difference is {self.largest_change:.4g}"
        told = f"on {self.examples} examples the vectors of int8 and float have a mean cosine of {self.agreement:.4f}"
        return f"{told}, the smallest is {1 - self.largest_change:.4f}"

    def as_dict(self) -> dict[str, Any]:
        """As JSON values, with `text`."""
        return {**dataclasses.asdict(self), "text": self.text}


def cost_between(reference: list[Answer], other: list[Answer], *, several_labels: bool = False) -> QuantizationCost:
    """Compare the answers of a float model with those of its int8 form to the same batches.

    Args:
        reference: of the float model, by `float_answers`.
        other: of the int8 model.
        several_labels: a text has several labels (`problem_type` multi_label_classification), each with a probability.

    Raises:
        ConfigurationError: there is no example.
    """
    examples = sum(len(answer[0]) for answer in reference)
    if not examples:
        raise ConfigurationError("int8 and float can't be compared without an example; give some texts")
    heads = len(reference[0])
    if reference[0][0].shape[-1] == 1:
        before, after = (torch.cat([answer[0] for answer in answers]) for answers in (reference, other))
        return _numbers(before[:, 0], after[:, 0]) if before.dim() == 2 else _vectors(before[..., 0], after[..., 0])
    changed, largest = 0, 0.0
    for old, new in zip(reference, other, strict=True):
        differs = torch.zeros(len(old[0]), dtype=torch.bool)
        for before, after in zip(old, new, strict=True):
            chances = [torch.sigmoid(x) if several_labels else x.softmax(1) for x in (before, after)]
            change = (chances[0] - chances[1]).abs().max()
            largest = max(largest, float(change)) if bool(change == change) else float("inf")
            differs |= ((before > 0) != (after > 0)).any(1) if several_labels else before.argmax(1) != after.argmax(1)
        changed += int(differs.sum())
    kind = "answers" if heads == 2 else "label sets" if several_labels else "labels"
    return QuantizationCost(kind, examples, 1 - changed / examples, largest)


def _numbers(before: Tensor, after: Tensor) -> QuantizationCost:
    difference = float((before - after).abs().max())
    spread = before.std(correction=0) * after.std(correction=0)
    if spread > 0:
        correlation = float(((before - before.mean()) * (after - after.mean())).mean() / spread)
    else:  # of one number, or of equal ones, there is none
        correlation = float(difference <= 0.05 * float(before.abs().max()))
    return QuantizationCost("numbers", len(before), correlation, difference)


def _vectors(before: Tensor, after: Tensor) -> QuantizationCost:
    cosines = F.cosine_similarity(before, after, dim=1)
    return QuantizationCost("vectors", len(before), float(cosines.mean()), 1 - float(cosines.min()))
