"""What is minimised: the forward pass and loss of each kind of training."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pruneofa.distillation.distiller import Distiller
from pruneofa.distillation.token_selection import head_on_tokens, select_tokens
from pruneofa.sparsity.masks import unwrap


class Objective(Protocol):
    """A loss of a model on a batch. In evaluation the teacher is silent: the loss is the task's own."""

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Any, dict[str, Tensor]]:
        """The scalar to minimise, the model's output, and the loss's parts by the name they are logged under."""


class MaskedLanguageModeling:
    """Cross-entropy on masked tokens, alone or joined with a teacher's predictions (PruneOFA, section 3).

    Logits are computed only for the tokens that some loss looks at.

    Args:
        distiller: None for the dense teacher's own preparation.
    """

    def __init__(self, distiller: Distiller | None = None) -> None:
        self.distiller = distiller

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Any, dict[str, Tensor]]:
        """See `Objective`; `batch` holds `input_ids`, `attention_mask` and `labels` (-100: not masked)."""
        tokens = self.distiller.config.tokens if self.distiller is not None and model.training else "masked"
        selection = select_tokens(batch, tokens)
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        features = self.distiller.feature_arguments if self.distiller is not None and model.training else {}
        with head_on_tokens(unwrap(model), selection):
            output = model(**inputs, **features)
        output["loss"] = _masked_cross_entropy(output.logits.flatten(0, 1), batch["labels"][selection])
        if self.distiller is None or not model.training:
            return output.loss, output, {}
        loss = self.distiller(output, batch)
        return loss, output, self.distiller.parts


class TaskLoss:
    """A task head's own loss, alone or joined with a teacher's predictions.

    Args:
        distiller: None for training on labels alone.
    """

    def __init__(self, distiller: Distiller | None = None) -> None:
        self.distiller = distiller

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Any, dict[str, Tensor]]:
        """See `Objective`; `batch` holds the model's inputs, `labels` and perhaps `teacher_logits`."""
        inputs = {name: value for name, value in batch.items() if name != "teacher_logits"}
        features = self.distiller.feature_arguments if self.distiller is not None and model.training else {}
        output = model(**inputs, **features)
        if self.distiller is None or not model.training:
            return output.loss, output, {}
        return self.distiller(output, batch), output, self.distiller.parts


def _masked_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over rows whose label is not -100; zero, not NaN, when there is none."""
    if not bool((labels != -100).any()):
        return logits.sum() * 0.0
    return F.cross_entropy(logits.float(), labels, ignore_index=-100)
