"""Which module's quantization costs how much: each is quantized alone, and the model's answers are compared.

The cost is the Kullback-Leibler divergence of the float model's answers from the quantized one's, the mean over the
examples in nats; it needs no labels. With class labels there is the change of the task's own loss as well.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from pruneofa.errors import ConfigurationError
from pruneofa.quantization.answers import Answer, Batch, answers_of, divergence_between
from pruneofa.quantization.attention import AttentionProducts, attention_modules
from pruneofa.quantization.embedding import QATEmbedding
from pruneofa.quantization.linear import QATLinear
from pruneofa.quantization.qat import enable_fake_quantization, quantized_embeddings, quantized_linears

__all__ = ["LayerSensitivity", "measure_sensitivity"]


@dataclass(frozen=True)
class LayerSensitivity:
    """What the quantization of one module alone does.

    Attributes:
        name: Dotted name of the module, `all` for the whole model.
        kind: `linear`, `embedding`, `attention` (its two products) or `model`.
        divergence: Mean KL divergence from the float model's answers, in nats.
        divergence_weights: The same with the weight alone quantized, activations in float; 0 where there is no weight.
        loss_change: Cross-entropy with the module quantized, less that of the float model; None without labels.
        changed: Share of the examples whose predicted class is another one.
    """

    name: str
    kind: str
    divergence: float
    divergence_weights: float
    loss_change: float | None
    changed: float


@torch.no_grad()
def measure_sensitivity(
    model: nn.Module, batches: Sequence[Batch], progress: Callable[[int, int], None] | None = None
) -> list[LayerSensitivity]:
    """Quantize each module of a prepared model alone; the most sensitive comes first, the whole model before them.

    Args:
        model: Prepared, with its ranges found (`calibrate`, training, or `prepare_from_state`); its output has `logits`
            [batch, classes], or `start_logits` and `end_logits`. It is left as it was, with fake quantization on.
        batches: Keyword arguments of its forward; class numbers `labels` [batch], where all have them, give the loss.
        progress: Called as `progress(modules done, of)`.

    Raises:
        ConfigurationError: The model isn't prepared, a range isn't known, or there is no batch.
    """
    if not batches:
        raise ConfigurationError("sensitivity needs at least one batch; give some texts")
    unknown = [
        name
        for name, linear in quantized_linears(model).items()
        if not all(quantizer.has_grid for quantizer in linear.activation_quantizers.values())
    ]
    if unknown:
        raise ConfigurationError(f"sensitivity: the ranges of {unknown[0]!r} are not known; call calibrate first")
    was_training = model.training
    model.eval()
    parts = _parts(model)
    try:
        enable_fake_quantization(model, True)
        everything = answers_of(model, batches)
        for _, part in parts.values():
            _switch(part, weight=True, activations=False)
        weights = answers_of(model, batches)
        enable_fake_quantization(model, False)
        reference = answers_of(model, batches)
        rows = [_compared("all", "model", reference, everything, weights, batches)]
        for done, (name, (kind, part)) in enumerate(parts.items()):
            weights = reference
            if kind != "attention":
                _switch(part, weight=True, activations=False)
                weights = answers_of(model, batches)
            together = weights
            if kind != "embedding":
                _switch(part, weight=True, activations=True)
                together = answers_of(model, batches)
            _switch(part, weight=False, activations=False)
            rows.append(_compared(name, kind, reference, together, weights, batches))
            if progress is not None:
                progress(done + 1, len(parts))
    finally:
        enable_fake_quantization(model, True)
        model.train(was_training)
    return [rows[0], *sorted(rows[1:], key=lambda row: -row.divergence)]


_Part = QATLinear | QATEmbedding | AttentionProducts


def _parts(model: nn.Module) -> dict[str, tuple[str, _Part]]:
    """Name -> kind and what is switched, in the model's order."""
    parts: dict[str, tuple[str, _Part]] = {}
    parts |= {name: ("embedding", table) for name, table in quantized_embeddings(model).items()}
    parts |= {name: ("linear", linear) for name, linear in quantized_linears(model).items()}
    parts |= {name: ("attention", products) for name, products in attention_modules(model).items()}
    return parts


def _switch(part: _Part, *, weight: bool, activations: bool) -> None:
    if isinstance(part, QATLinear):
        part.quantizes_weight, part.quantizes_activations = weight, activations
    elif isinstance(part, QATEmbedding):
        part.quantizes_weight = weight
    else:
        part.quantizes = activations


def _compared(
    name: str,
    kind: str,
    reference: list[Answer],
    together: list[Answer],
    weights: list[Answer],
    batches: Sequence[Batch],
) -> LayerSensitivity:
    examples = sum(answer[0].shape[0] for answer in reference)
    changed = sum(
        int(_any(before.argmax(1) != after.argmax(1) for before, after in zip(old, new, strict=True)).sum())
        for old, new in zip(reference, together, strict=True)
    )
    losses = [_task_loss(answers, batches) for answers in (reference, together)]
    return LayerSensitivity(
        name=name,
        kind=kind,
        divergence=divergence_between(reference, together) / examples,
        divergence_weights=divergence_between(reference, weights) / examples,
        loss_change=None if losses[0] is None or losses[1] is None else (losses[1] - losses[0]) / examples,
        changed=changed / examples,
    )


def _any(conditions: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(conditions)).any(0)


def _task_loss(answers: list[Answer], batches: Sequence[Batch]) -> float | None:
    """Sum of the cross-entropies; None unless every batch has class numbers."""
    if any("labels" not in batch or batch["labels"].is_floating_point() for batch in batches):
        return None
    losses = [
        F.cross_entropy(answer[0], batch["labels"].cpu(), reduction="sum")
        for answer, batch in zip(answers, batches, strict=True)
    ]
    return float(torch.stack(losses).sum())
