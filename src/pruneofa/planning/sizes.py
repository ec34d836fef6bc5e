"""How large a model is, and how many products it computes for what: from its config alone, without its weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pruneofa.architectures.linears import encoder_linears, pooler_linears
from pruneofa.errors import ConfigurationError, first_line
from pruneofa.models.loading import load_config
from pruneofa.recipe.document import Recipe
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.sparsity.targets import target_modules

Head = Literal["masked_lm", "pairs", "classification", "question_answering"]
"""What a model predicts: masked tokens, those and next sentences, a class, or an answer's two ends."""

_AUTO_CLASSES: Mapping[Head, str] = {
    "masked_lm": "AutoModelForMaskedLM",
    "pairs": "AutoModelForPreTraining",
    "classification": "AutoModelForSequenceClassification",
    "question_answering": "AutoModelForQuestionAnswering",
}


@dataclass(frozen=True)
class ModelSizes:
    """What of a model decides operations and memory. A multiply-add counts as one here, and as two operations later.

    Attributes:
        name: class of transformers.
        parameters: all that are trained; tied ones once.
        linear_weights: weights of all Linear layers, tied ones once.
        prunable: weights that the recipe prunes (of the encoder where it prunes nothing).
        layers: transformer layers.
        hidden: width of the hidden states.
        intermediate: width inside the feed-forward part.
        heads: attention heads of a layer.
        vocabulary: tokens that can be predicted; 0 where none are.
        per_token: multiply-adds of a forward pass for each token, without attention's own products.
        per_prediction: those of the head for each token that is predicted.
        per_sequence: those of pooler and sequence-level heads, for each sequence.
        dropout: probability in the layers.
        attention_dropout: probability on attention's weights.
    """

    name: str
    parameters: int
    linear_weights: int
    prunable: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    vocabulary: int
    per_token: int
    per_prediction: int
    per_sequence: int
    dropout: float
    attention_dropout: float

    def per_pair(self) -> int:
        """Multiply-adds of attention for each pair of tokens that see each other: scores, and the sum of values."""
        return 2 * self.layers * self.hidden


def recipe_config(recipe: Recipe) -> Any:
    """The dense model's config: what the recipe says of it, else from its files.

    Raises:
        ConfigurationError: the recipe describes no known architecture.
        CheckpointError: the recipe describes none and the model's config can't be read.
    """
    described = recipe.model.architecture
    return load_config(recipe.model.name_or_path) if described is None else architecture_config(described)


def architecture_config(described: Mapping[str, Any]) -> Any:
    """The config of transformers that a recipe's `model.architecture` describes.

    Raises:
        ConfigurationError: it describes none.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.for_model(**described)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(
            f"model.architecture: {dict(described)} is none that transformers knows: {error}"
        ) from error


def build_model(config: Any, head: Head) -> Any:
    """A model with random weights.

    Raises:
        ConfigurationError: there is no model of this type with such a head.
    """
    import transformers

    try:
        return getattr(transformers, _AUTO_CLASSES[head]).from_config(config)
    except ValueError as error:
        raise ConfigurationError(
            f"a model of type {getattr(config, 'model_type', None)!r} can't be built with a head for {head}: "
            f"{first_line(error)}"
        ) from error


def model_sizes(config: Any, head: Head, sparsity: SparsityConfig | None = None) -> ModelSizes:
    """Build the model on the meta device and count.

    Args:
        config: of transformers.
        head: what it predicts.
        sparsity: which modules are pruned.

    Raises:
        ConfigurationError: there is no model of this type with such a head, or a pattern of `sparsity` matches none of
            its modules.
    """
    import torch

    with torch.device("meta"):
        model = build_model(config, head)
    encoder, pooler = encoder_linears(model), pooler_linears(model)
    pruned = target_modules(model, sparsity) if sparsity is not None else list(encoder)
    weights = {id(linear.weight): linear.weight.numel() for linear in _linears(model).values()}
    products = _products(model, head, set(pooler))
    return ModelSizes(
        name=type(model).__name__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        linear_weights=sum(weights.values()),
        prunable=sum(model.get_submodule(name).weight.numel() for name in pruned),
        layers=int(config.num_hidden_layers),
        hidden=int(config.hidden_size),
        intermediate=max(linear.out_features for linear in encoder.values()),
        heads=int(config.num_attention_heads),
        vocabulary=int(config.vocab_size) if head in ("masked_lm", "pairs") else 0,
        dropout=_first(config, "hidden_dropout_prob", "dropout"),
        attention_dropout=_first(config, "attention_probs_dropout_prob", "attention_dropout"),
        **products,
    )


def _products(model: Any, head: Head, pooler: set[str]) -> dict[str, int]:
    """Multiply-adds of every Linear, by what it is computed for."""
    base = next(name for name, module in model.named_modules() if module is model.base_model)
    counts = {"per_token": 0, "per_prediction": 0, "per_sequence": 0}
    for name, linear in _linears(model).items():
        if name in pooler:
            kind = "per_sequence"
        elif name.startswith(f"{base}.") or head == "question_answering":  # layers, and projections of embeddings
            kind = "per_token"
        elif head == "classification" or name.endswith("seq_relationship"):
            kind = "per_sequence"
        else:
            kind = "per_prediction"
        counts[kind] += int(linear.in_features * linear.out_features)
    return counts


def _linears(model: Any) -> dict[str, Any]:
    from torch import nn

    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def _first(config: Any, *names: str) -> float:
    return next((float(getattr(config, name)) for name in names if getattr(config, name, None) is not None), 0.0)
