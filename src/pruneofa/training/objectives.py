"""What is minimised: the forward pass and loss of each kind of training."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pruneofa.distillation.distiller import Distiller
from pruneofa.distillation.features import feature_loss
from pruneofa.distillation.losses import soft_cross_entropy
from pruneofa.distillation.token_selection import run_to_vocabulary, select_tokens
from pruneofa.distillation.vocabulary import IGNORED_LABEL, vocabulary_losses
from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.masks import unwrap

Totals = Mapping[str, float]
"""Over all batches of an optimizer step: how much there is of what losses are means over."""


class Objective(Protocol):
    """A loss of a model on a batch."""

    @property
    def teacher(self) -> nn.Module | None:
        """The model that is learned from, if one runs along."""

    def __call__(
        self, model: nn.Module, batch: Mapping[str, Tensor], totals: Totals | None = None
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        """The scalar to minimise, the model's output, and the loss's parts by the name they are logged under.

        The scalar is a mean over the batch; with `totals` it is the batch's share of the mean over a whole step, so
        that the shares of a step's batches add up to the loss of one big batch.
        """

    def counts(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """What of `totals` this batch holds."""


class MaskedLanguageModeling:
    """Cross-entropy on masked tokens and, for segment pairs, on whether the second follows the first.

    Alone, or joined with a teacher's predictions of both (PruneOFA, section 3): `(1 - hardness) (MLM + NSP) + hardness
    (KD of tokens + KD of pairs)`. Predictions are computed only for the tokens that some loss looks at, and their
    logits never held as a whole (`distillation.vocabulary`), so the output's token logits have no row.

    Args:
        distiller: None for the dense teacher's own preparation.
    """

    takes_packed = True
    """Whether it takes batches of a `PackingCollator`."""

    def __init__(self, distiller: Distiller | None = None) -> None:
        self.distiller = distiller

    @property
    def teacher(self) -> nn.Module | None:
        """See `Objective`. In evaluation it is silent: the loss is the task's own."""
        return None if self.distiller is None else self.distiller.teacher

    def counts(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """Masked tokens, tokens that are distilled, tokens that are no padding, and pairs."""
        masked = float((batch["labels"] != IGNORED_LABEL).sum())
        present = float(select_tokens(batch, "all").sum())
        distilled = masked if self._tokens(self.distiller) == "masked" else present
        pairs = float(len(batch["next_sentence_label"])) if "next_sentence_label" in batch else 0.0
        return {"masked": masked, "distilled": distilled, "present": present, "pairs": pairs}

    def __call__(
        self, model: nn.Module, batch: Mapping[str, Tensor], totals: Totals | None = None
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        """See `Objective`.

        Args:
            model: with a token head and, for pairs, a head for them.
            batch: `input_ids`, `attention_mask`, `labels` (-100: not masked); for pairs `token_type_ids` and
                `next_sentence_label` `[sequences]`.
            totals: see `Objective`.

        Raises:
            ConfigurationError: the batch holds pairs, and the model has no head for them.
        """
        distiller = self.distiller if model.training else None
        counts = self.counts(batch)
        totals = totals or counts
        selection = select_tokens(batch, self._tokens(distiller))
        features = {} if distiller is None else distiller.feature_arguments
        # The teacher goes first: what it needs is freed before the student's activations pile up.
        taught = None if distiller is None else distiller.teach_to_vocabulary(batch, selection)
        output, rows = run_to_vocabulary(model, unwrap(model), batch, selection, **features)
        task_share, distilled_share = 1.0, 0.0
        if distiller is not None:
            task_share, distilled_share = 1.0 - distiller.config.hardness, distiller.config.hardness
        losses = vocabulary_losses(
            rows,
            batch["labels"][selection],
            None if taught is None else taught[1],
            task_weight=task_share / max(1.0, totals["masked"]),
            distillation_weight=distilled_share / max(1.0, totals["distilled"]),
            temperature=1.0 if distiller is None else distiller.config.temperature,
        )
        loss, task = losses.weighted, losses.task / max(1.0, totals["masked"])
        distilled = losses.distillation / max(1.0, totals["distilled"])
        parts: dict[str, Tensor] = {}
        if "next_sentence_label" in batch:
            own = _next_sentence_loss(output, batch["next_sentence_label"]) / totals["pairs"]
            loss, task = loss + task_share * own, task + own.detach()
            parts["loss/next_sentence"] = own.detach()
            if distiller is not None and taught is not None:
                divergence = _next_sentence_divergence(output, taught[0], distiller.config.temperature)
                divergence = divergence * (counts["pairs"] / totals["pairs"])
                loss, distilled = loss + distilled_share * divergence, distilled + divergence.detach()
        if distiller is not None and taught is not None and distiller.config.needs_features:
            share = counts["present"] / totals["present"]
            inside = feature_loss(distiller.config, output, taught[0], batch) * share
            loss, distilled = loss + distilled_share * inside, distilled + inside.detach()
        output["loss"] = task if model.training else loss
        if distiller is None:
            return loss, output, parts
        distiller.parts = {"loss/distillation": distilled, "loss/task": task, **parts}
        return loss, output, distiller.parts

    @staticmethod
    def _tokens(distiller: Distiller | None) -> str:
        return "masked" if distiller is None else distiller.config.tokens


class TaskLoss:
    """A task head's own loss, alone or joined with a teacher's predictions.

    Args:
        distiller: None for training on labels alone.
    """

    takes_packed = False

    def __init__(self, distiller: Distiller | None = None) -> None:
        self.distiller = distiller

    @property
    def teacher(self) -> nn.Module | None:
        """See `Objective`. In evaluation it is silent: the loss is the task's own."""
        return None if self.distiller is None else self.distiller.teacher

    def counts(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """Examples, over which the losses are means."""
        return {"examples": float(len(batch["input_ids"]))}

    def __call__(
        self, model: nn.Module, batch: Mapping[str, Tensor], totals: Totals | None = None
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        """See `Objective`; `batch` holds the model's inputs, labels, and perhaps a teacher's logits (`teacher_...`)."""
        inputs = {name: value for name, value in batch.items() if not name.startswith("teacher_")}
        features = self.distiller.feature_arguments if self.distiller is not None and model.training else {}
        output = model(**inputs, **features)
        loss, parts = output.loss, dict[str, Tensor]()
        if self.distiller is not None and model.training:
            loss, parts = self.distiller(output, batch), self.distiller.parts
        if totals is None:
            return loss, output, parts
        share = self.counts(batch)["examples"] / totals["examples"]
        return loss * share, output, {name: part * share for name, part in parts.items()}


def _next_sentence_loss(output: Any, labels: Tensor) -> Tensor:
    """Cross-entropy, summed over pairs (BERT, arXiv 1810.04805, section 3.1)."""
    logits = _next_sentence_logits(output)
    if len(logits) != len(labels):
        raise ConfigurationError(
            f"the model gives {len(logits)} next-sentence predictions for {len(labels)} pairs; packed batches need a "
            "model whose pooler is `base_model.pooler`: set batching to 'bucketed'"
        )
    return F.cross_entropy(logits.float(), labels, reduction="sum")


def _next_sentence_divergence(output: Any, taught: Any, temperature: float) -> Tensor:
    return soft_cross_entropy(_next_sentence_logits(output), _next_sentence_logits(taught), temperature)


def _next_sentence_logits(output: Any) -> Tensor:
    if "seq_relationship_logits" not in output:
        raise ConfigurationError(
            "the batch has next_sentence_label, but the model has no next-sentence head; use a corpus of sentences, or "
            "a model of AutoModelForPreTraining with such a head (BERT)"
        )
    logits: Tensor = output["seq_relationship_logits"]
    return logits
