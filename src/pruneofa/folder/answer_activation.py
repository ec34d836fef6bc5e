"""What turns the logits of a classifier into its scores: what the folder says, else what transformers does."""

import logging
from typing import Any, Literal

from pruneofa.errors import CheckpointError
from pruneofa.folder.files import ModelFiles, read_object

__all__ = ["Activation", "answer_activation"]

logger = logging.getLogger(__name__)

Activation = Literal["none", "sigmoid", "softmax"]

_KNOWN: dict[str, Activation] = {"Identity": "none", "Sigmoid": "sigmoid", "Softmax": "softmax"}


def answer_activation(files: ModelFiles, config: dict[str, Any], labels: int) -> Activation:
    """The function on a sequence classifier's logits.

    A reranker's is what sentence-transformers saved with it: `activation_fn` of config_sentence_transformers.json or
    of `sentence_transformers` in config.json, or `sbert_ce_default_activation_function` there. For other models, by
    `problem_type`: none for regression, a sigmoid for several labels at once, and for a single label; else softmax.
    Identity beside several labels is what sentence-transformers writes where nobody chose; scores are softmax then, as
    in transformers.

    Args:
        files: The model's files.
        config: Its config.json.
        labels: Number of logits.

    Raises:
        CheckpointError: The named function is not known.
    """
    found = _saved(files, config)
    if found is not None and not (found == "none" and labels > 1):
        return found
    problem = config.get("problem_type")
    if problem == "regression":
        return "none"
    if problem == "multi_label_classification" or labels == 1:
        return "sigmoid"
    return "softmax"


def _saved(files: ModelFiles, config: dict[str, Any]) -> Activation | None:
    settings = read_object(files, "config_sentence_transformers.json") or {}
    within = config.get("sentence_transformers")
    places = (
        ("config_sentence_transformers.json: activation_fn", settings.get("activation_fn")),
        ("config.json: activation_fn", within.get("activation_fn") if isinstance(within, dict) else None),
        ("config.json: sbert_ce_default_activation_function", config.get("sbert_ce_default_activation_function")),
    )
    for place, name in places:
        if name is None:
            continue
        if not isinstance(name, str) or not name.startswith("torch."):
            logger.warning("%s: %s is %.80r, no class of torch: the default is taken", files.path, place, name)
            continue
        kind = _KNOWN.get(name.rpartition(".")[2])
        if kind is None:
            raise CheckpointError(
                f"{files.path}: {place} is {name!r:.80}, known are {', '.join(_KNOWN)}; pass raw_scores=True and "
                "apply it yourself"
            )
        return kind
    return None
