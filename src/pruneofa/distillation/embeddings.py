"""What a sentence encoder learns from its dense self: every token's states, its embeddings, and how these relate."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from pruneofa.distillation.config import EmbeddingPooling

__all__ = ["embedding_cosine", "pooled_embeddings", "relation_loss"]


def pooled_embeddings(hidden: Tensor, batch: Mapping[str, Tensor], pooling: EmbeddingPooling) -> Tensor:
    """One vector for each sequence of a batch, float32 `[sequences, hidden]`.

    Args:
        hidden: last hidden states, `[rows, length, hidden]`.
        batch: of `PaddingCollator`, or of `PackingCollator` with several sequences in a row.
        pooling: "mean" of a sequence's tokens, or its first token ("cls").
    """
    flat = hidden.flatten(0, 1)
    starts = batch.get("sequence_starts")
    if pooling == "cls":
        return (hidden[:, 0] if starts is None else flat[starts]).float()
    rows, count = _sequence_of_token(batch, hidden)
    kept = rows >= 0
    sums = torch.zeros(count, flat.shape[-1], device=flat.device, dtype=torch.float32)
    sums = sums.index_add(0, rows[kept], flat[kept].float())
    return sums / torch.bincount(rows[kept], minlength=count).clamp_min(1).unsqueeze(-1)


def embedding_cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """`1 - cos` of the embeddings of the same text, mean over texts; a scalar.

    Args:
        student: `[texts, hidden]`.
        teacher: likewise.
    """
    return (1.0 - F.cosine_similarity(student, teacher, dim=-1)).mean()


def relation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """How differently two models relate the texts of a batch to each other; a scalar, 0 for fewer than three texts.

    For every text its cosines to the others, divided by a temperature, are a distribution over them (as in contrastive
    training); what counts is `KL(teacher || student)`, mean over texts (Fang et al., arXiv 2101.04731, equation 5).

    Args:
        student: embeddings `[texts, hidden]`.
        teacher: likewise, of a teacher of any width.
        temperature: above 0.
    """
    if len(student) < 3:  # a text has one other, at most: nothing to choose from
        return student.sum() * 0.0
    others = ~torch.eye(len(student), dtype=torch.bool, device=student.device)
    mine, theirs = (
        (F.normalize(side, dim=-1) @ F.normalize(side, dim=-1).T)[others].reshape(len(side), -1)
        for side in (student, teacher)
    )
    return F.kl_div(
        F.log_softmax(mine / temperature, dim=-1),
        F.log_softmax(theirs / temperature, dim=-1),
        reduction="batchmean",
        log_target=True,
    )


def _sequence_of_token(batch: Mapping[str, Any], hidden: Tensor) -> tuple[Tensor, int]:
    """The sequence that each token of the flattened rows belongs to (-1: padding), and how many there are."""
    if "sequence_ids" in batch:
        return batch["sequence_ids"].flatten() - 1, len(batch["sequence_starts"])
    if "cu_seq_lens_q" in batch:
        lengths = batch["cu_seq_lens_q"].diff()
        return torch.repeat_interleave(torch.arange(len(lengths), device=hidden.device), lengths), len(lengths)
    rows, length = hidden.shape[:2]
    numbers = torch.arange(rows, device=hidden.device).unsqueeze(1).expand(rows, length)
    mask = batch.get("attention_mask")
    return (numbers if mask is None else numbers.masked_fill(mask == 0, -1)).flatten(), rows
