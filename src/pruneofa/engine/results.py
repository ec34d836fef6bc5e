"""What an engine's calls return."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.errors import CheckpointError
from pruneofa.folder.answer_activation import Activation
from pruneofa.folder.label_names import check_distinct, row_names

__all__ = ["Classification", "Output", "classification", "label_names"]


@dataclass(frozen=True)
class Output:
    """What a model computes for a batch.

    Attributes:
        hidden_states: float32 [B, T, hidden] of the last layer, zeros where the mask hides a token; or None.
        logits: float32 [B, labels] of a head on the first token; [B, T, labels] of one on every token, zeros where the
            mask hides it; None if not asked for, or without a head.
    """

    hidden_states: NDArray[np.float32] | None
    logits: NDArray[np.float32] | None


@dataclass(frozen=True)
class Classification:
    """The label of a text: the likeliest one, its score, and the score of every label.

    Scores are probabilities; of a regression the number itself, of a reranker what its folder says.
    """

    label: str
    score: float
    scores: dict[str, float]


def classification(logits: NDArray[np.float32], activation: Activation, labels: Sequence[str]) -> Classification:
    """The answer that a text's logits [labels] stand for."""
    scores = logits.astype(np.float64)
    if activation == "sigmoid":
        scores = 0.5 * (1.0 + np.tanh(0.5 * scores))  # no logit overflows it
    elif activation == "softmax":
        scores = np.exp(scores - scores.max())
        scores /= scores.sum()
    best = int(np.argmax(scores))
    named = dict(zip(labels, map(float, scores), strict=True))
    return Classification(labels[best], float(scores[best]), named)


def label_names(path: Path, config: dict[str, Any], task: str | None, rows: int) -> tuple[str, ...]:
    """Names of a head's rows; of one that chooses a label for a text, no two may be the same.

    Raises:
        CheckpointError: the config's names are not one for each row, or two are the same.
    """
    if task not in ("classify", "label_tokens"):
        return tuple(row_names(None, rows))
    try:
        names = row_names(config.get("id2label"), rows)
        if task == "classify":
            check_distinct(names)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return tuple(names)
