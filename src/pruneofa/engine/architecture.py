"""Which encoders the engine runs, and what their configuration must say."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pruneofa.architectures.families import Family, families, find_family
from pruneofa.errors import CheckpointError

__all__ = ["Dimensions", "Head", "dimensions_of", "engine_family", "head_of"]

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
_LARGEST = 65535


@dataclass(frozen=True)
class Head:
    """What a model puts on top of its encoder.

    Attributes:
        kind: "none", "first_token" or "every_token", as the compiled part names them.
        task: "classify", "answer", "label_tokens" or None.
        steps: Module name and the activation that follows, in order.
    """

    kind: str
    task: str | None
    steps: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Dimensions:
    """The numbers of a configuration that the engine computes with.

    `padding_id` is that of models that number positions from it on, else None.
    """

    hidden: int
    embedding: int
    layers: int
    heads: int
    intermediate: int
    epsilon: float
    activation: str
    relative_buckets: int
    padding_id: int | None


def engine_family(config: dict[str, Any], where: str) -> Family:
    """The family of a configuration.

    Raises:
        CheckpointError: A model type, or a variant of one, that the engine does not run.
    """
    model_type = config.get("model_type")
    family = find_family(model_type)
    if family is None or not family.in_engine:
        known = sorted(name for name, entry in families().items() if entry.in_engine)
        raise CheckpointError(f"{where}: model_type is {model_type!r:.80}, the engine runs {', '.join(known)}")
    for key, allowed in (
        ("is_decoder", False),
        ("add_cross_attention", False),
        ("position_embedding_type", "absolute"),
    ):
        if config.get(key) not in (None, allowed):
            raise CheckpointError(f"{where}: {key} is {config[key]!r:.80}, the engine runs {allowed!r}")
    return family


def dimensions_of(config: dict[str, Any], family: Family, where: str) -> Dimensions:
    """The checked numbers of a configuration.

    Raises:
        CheckpointError: One is missing or out of range.
    """

    def whole(key: str, largest: int, least: int = 1, default: int | None = None) -> int:
        value = config.get(key, default)
        if type(value) is not int or not least <= value <= largest:
            raise CheckpointError(
                f"{where}: {key} is {value!r:.80}, allowed is a whole number from {least} to {largest}"
            )
        return value

    hidden, heads = whole(family.hidden_key, _LARGEST), whole(family.heads_key, _LARGEST)
    if hidden % heads:
        raise CheckpointError(f"{where}: {family.hidden_key} {hidden} is no multiple of {family.heads_key} {heads}")
    activation = config.get(family.activation_key)
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise CheckpointError(
            f"{where}: {family.activation_key} is {activation!r:.80}, the engine knows "
            f"{', '.join(sorted(_ACTIVATIONS))}"
        )
    epsilon = config.get("layer_norm_eps", 1e-12) if family.fixed_epsilon is None else family.fixed_epsilon
    if not isinstance(epsilon, int | float) or not 0 < epsilon < 1:
        raise CheckpointError(f"{where}: layer_norm_eps is {epsilon!r:.80}, allowed is a number between 0 and 1")
    padding = None
    if family.padding_positions:
        # 1 is what the configurations of these families mean where they do not say.
        padding = whole("pad_token_id", _LARGEST, 0, 1) if family.fixed_padding is None else family.fixed_padding
    return Dimensions(
        hidden=hidden,
        embedding=hidden if family.embedding_key is None else whole(family.embedding_key, _LARGEST),
        layers=whole(family.layers_key, 1024),
        heads=heads,
        intermediate=whole(family.intermediate_key, _LARGEST),
        epsilon=float(epsilon),
        activation=_ACTIVATIONS[activation],
        relative_buckets=whole("relative_attention_num_buckets", 4096) if family.has_relative_positions else 0,
        padding_id=padding,
    )


def head_of(config: dict[str, Any], family: Family, base: str, holds: Callable[[str], bool]) -> Head:
    """The head that the configuration's `architectures` names; none for a bare encoder or a masked language model.

    Where the configuration names none, the weights say which head there is.

    Args:
        base: What module names of the encoder start with, such as `"bert."`.
        holds: Whether the model holds a tensor of this name.
    """
    steps = tuple((module.format(base=base), activation) for module, activation in family.classifier)
    architectures = config.get("architectures")
    name = architectures[0] if isinstance(architectures, list) and architectures else None
    if not isinstance(name, str) or not name:
        name = ""
        if holds("qa_outputs.weight"):
            name = "ForQuestionAnswering"
        elif steps and all(holds(f"{module}.weight") for module, _ in steps):
            name = "ForSequenceClassification"
        elif holds("classifier.weight"):
            name = "ForTokenClassification"
    if name.endswith("ForSequenceClassification"):
        return Head("first_token", "classify", steps)
    if name.endswith("ForQuestionAnswering"):
        return Head("every_token", "answer", (("qa_outputs", "none"),))
    if name.endswith("ForTokenClassification"):
        return Head("every_token", "label_tokens", (("classifier", "none"),))
    return Head("none", None, ())
