"""The objective of a sentence encoder: to give what its dense self gives, token by token and text by text."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pruneofa.distillation.config import DistillationConfig, EmbeddingDistillationConfig, EmbeddingPooling
from pruneofa.distillation.embeddings import embedding_cosine, pooled_embeddings, relation_loss
from pruneofa.distillation.features import check_features
from pruneofa.distillation.inputs import model_inputs
from pruneofa.distillation.losses import hidden_normalized_mse
from pruneofa.errors import ConfigurationError
from pruneofa.models.opened import OpenedModel
from pruneofa.models.sentence_files import sentence_modules
from pruneofa.training.objectives import Totals

__all__ = ["EmbeddingDistillation", "embedding_pooling"]

_STATES = DistillationConfig(hardness=1.0, hidden_loss="normalized_mse")


class EmbeddingDistillation:
    """The weighted sum of three losses to a frozen teacher of the same depth and width: states, embeddings, relations.

    Its value is the same in training and evaluation, so the validation loss is the fidelity to the teacher.

    Args:
        teacher: the dense encoder, without a head.
        student: the encoder that is trained, without a head.
        config: weights and temperature.
        pooling: how embeddings are made.

    Raises:
        ConfigurationError: student and teacher are the same object, or differ in depth or width; or every weight is 0.
    """

    takes_packed = True
    """Whether it takes batches of a `PackingCollator`."""

    def __init__(
        self, teacher: nn.Module, student: nn.Module, config: EmbeddingDistillationConfig, pooling: EmbeddingPooling
    ) -> None:
        if teacher is student:
            raise ConfigurationError("teacher and student are the same object; give the teacher as a copy")
        if not config.hidden_weight + config.embedding_weight + config.relation_weight > 0:
            raise ConfigurationError(
                "embedding: hidden_weight, embedding_weight and relation_weight are all 0, so nothing is learned; "
                "raise one"
            )
        check_features(_STATES, student, teacher)
        teacher.requires_grad_(False)
        self._teacher = teacher.eval()
        self.config = config
        self.pooling = pooling

    @property
    def teacher(self) -> nn.Module:
        """See `Objective`."""
        return self._teacher

    def counts(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """Tokens that are no padding, and texts."""
        mask = batch.get("attention_mask")
        tokens = batch["input_ids"].numel() if mask is None else int(mask.count_nonzero())
        starts = batch.get("sequence_starts")
        texts = len(batch["input_ids"]) if starts is None else len(starts)
        return {"tokens": float(tokens), "texts": float(texts)}

    def __call__(
        self, model: nn.Module, batch: Mapping[str, Tensor], totals: Totals | None = None
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        """See `pruneofa.training.objectives.Objective`; `batch` has no labels."""
        counts = self.counts(batch)
        totals = totals or counts
        inputs = {**model_inputs(batch), "output_hidden_states": self.config.hidden_weight > 0}
        with torch.no_grad():
            taught = self._teacher(**inputs)
        output = model(**inputs)
        texts, tokens = counts["texts"] / totals["texts"], counts["tokens"] / totals["tokens"]
        parts: dict[str, Tensor] = {}
        loss = output.last_hidden_state.new_zeros((), dtype=torch.float32)
        if self.config.hidden_weight > 0:
            states = self._states(output, taught, batch) * tokens
            loss, parts["loss/hidden"] = loss + self.config.hidden_weight * states, states.detach()
        if self.config.embedding_weight + self.config.relation_weight > 0:
            mine, theirs = (pooled_embeddings(side.last_hidden_state, batch, self.pooling) for side in (output, taught))
            cosine = embedding_cosine(mine, theirs) * texts
            relation = relation_loss(mine, theirs, self.config.relation_temperature) * texts
            loss = loss + self.config.embedding_weight * cosine + self.config.relation_weight * relation
            parts |= {"loss/embedding": cosine.detach(), "loss/relation": relation.detach()}
        output["loss"] = loss
        return loss, output, parts

    @staticmethod
    def _states(output: Any, taught: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean of the layers' normalised errors; the output of the embeddings, which nothing prunes, is left out."""
        mask = batch.get("attention_mask")
        if mask is None:
            mask = torch.ones_like(batch["input_ids"])
        layers = zip(output.hidden_states[1:], taught.hidden_states[1:], strict=True)
        return torch.stack([hidden_normalized_mse(mine, theirs, mask) for mine, theirs in layers]).mean()


def embedding_pooling(config: EmbeddingDistillationConfig, opened: OpenedModel) -> EmbeddingPooling:
    """How embeddings are made: as the settings say, else as the model's folder does, else their mean.

    Raises:
        ConfigurationError: the folder's way is none of these.
    """
    if config.pooling is not None:
        return config.pooling
    modules = sentence_modules(opened)
    modes = ("mean",) if modules is None else modules.pooling.modes
    if modes == ("mean",):
        return "mean"
    if modes == ("cls",):
        return "cls"
    raise ConfigurationError(
        f"model {opened.name!r} pools by {' and '.join(modes)}, of which no embedding is learned here; set "
        "prune_embedder.embedding.pooling to 'mean' or 'cls'"
    )
