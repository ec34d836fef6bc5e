"""Where an encoder's Linear layers are, and what each is for.

Layers are found by structure, so a family that is not named here can still be pruned. What a layer is for (its role)
can't be seen from structure alone; `ROLES` names it per model type for those who need it (requantized outputs, fused
kernels).
"""

import difflib
import fnmatch
import logging
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from pruneofa.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "ROLES",
    "ROLE_NAMES",
    "Role",
    "embedding_tables",
    "encoder_linears",
    "linear_roles",
    "match_modules",
    "pooler_linears",
    "transformer_layers",
]

logger = logging.getLogger(__name__)

Role = Literal["q", "k", "v", "attention_output", "ffn_in", "ffn_out", "pooler"]
"""What a Linear of an encoder computes."""

ROLE_NAMES: tuple[Role, ...] = ("q", "k", "v", "attention_output", "ffn_in", "ffn_out", "pooler")
"""Every role, in the order of the data's way through the encoder."""

_BERT: Mapping[str, Role] = MappingProxyType(
    {
        "attention.self.query": "q",
        "attention.self.key": "k",
        "attention.self.value": "v",
        "attention.output.dense": "attention_output",
        "intermediate.dense": "ffn_in",
        "output.dense": "ffn_out",
        "pooler.dense": "pooler",
    }
)
_DISTILBERT: Mapping[str, Role] = MappingProxyType(
    {
        "attention.q_lin": "q",
        "attention.k_lin": "k",
        "attention.v_lin": "v",
        "attention.out_lin": "attention_output",
        "ffn.lin1": "ffn_in",
        "ffn.lin2": "ffn_out",
    }
)
_MPNET: Mapping[str, Role] = MappingProxyType(
    {
        "attention.attn.q": "q",
        "attention.attn.k": "k",
        "attention.attn.v": "v",
        "attention.attn.o": "attention_output",
        "intermediate.dense": "ffn_in",
        "output.dense": "ffn_out",
        "pooler.dense": "pooler",
    }
)

ROLES: Mapping[str, Mapping[str, Role]] = MappingProxyType(
    {"bert": _BERT, "distilbert": _DISTILBERT, "mpnet": _MPNET, "roberta": _BERT, "electra": _BERT}
)
"""Per `config.model_type`: ending of a module's dotted name -> role. Of two endings that fit, the longer one holds."""


def encoder_linears(model: "nn.Module") -> dict[str, "nn.Linear"]:
    """Every Linear inside the transformer layers of `model.base_model`, in the model's own order.

    Embedding projections, pooler and heads are not among them.

    Args:
        model: A model of transformers, with or without a head; wrapped ones (DDP, torch.compile, a plain module that
            holds one) work too.

    Returns:
        Full dotted name, as in `model.named_modules()`, -> module. Subclasses of `nn.Linear` count.

    Raises:
        ConfigurationError: If the model has no such layers.
    """
    from torch import nn

    seen: set[nn.Module] = set()
    found = {
        inner: module
        for name, layer in transformer_layers(model).items()
        for inner, module in layer.named_modules(memo=seen, prefix=name)
        if isinstance(module, nn.Linear)
    }
    if not found:
        base = _base_model(model)[1]
        raise ConfigurationError(
            f"no Linear found in the transformer layers of {type(base).__name__}: expected a ModuleList of "
            f"config.num_hidden_layers = {_depth(base)} layers that hold nn.Linear modules; use an encoder of that form"
        )
    return found


def transformer_layers(model: "nn.Module") -> dict[str, "nn.Module"]:
    """The transformer layers of `model.base_model`: full dotted name -> module; empty where none are found.

    They are the entries of each outermost `ModuleList` of the base model that has `config.num_hidden_layers` entries.

    Raises:
        ConfigurationError: If `model` holds no model of transformers.
    """
    from torch import nn

    prefix, base = _base_model(model)
    stacks: dict[str, nn.ModuleList] = {}
    for name, module in base.named_modules(prefix=prefix):
        inside = any(name.startswith(f"{stack}.") for stack in stacks)
        if not inside and isinstance(module, nn.ModuleList) and len(module) == _depth(base):
            stacks[name] = module
    return {f"{name}.{index}": layer for name, stack in stacks.items() for index, layer in enumerate(stack)}


def embedding_tables(model: "nn.Module") -> dict[str, "nn.Embedding"]:
    """The tables (words, positions, segments) inside the base model's `embeddings`: full dotted name -> module.

    Raises:
        ConfigurationError: If `model` holds no model of transformers, or the model keeps its tables elsewhere.
    """
    from torch import nn

    prefix, base = _base_model(model)
    holder = getattr(base, "embeddings", None)
    name = f"{prefix}.embeddings" if prefix else "embeddings"
    found = (
        {inner: module for inner, module in holder.named_modules(prefix=name) if isinstance(module, nn.Embedding)}
        if isinstance(holder, nn.Module)
        else {}
    )
    if not found:
        raise ConfigurationError(
            f"{type(base).__name__} has no module `embeddings` with nn.Embedding tables; use an encoder of that form"
        )
    return found


def pooler_linears(model: "nn.Module") -> dict[str, "nn.Linear"]:
    """The Linear layers of the base model's `pooler`: full dotted name -> module; empty where there is no pooler.

    Raises:
        ConfigurationError: If `model` holds no model of transformers.
    """
    from torch import nn

    prefix, base = _base_model(model)
    pooler = getattr(base, "pooler", None)
    if pooler is None:
        return {}
    name = f"{prefix}.pooler" if prefix else "pooler"
    return {inner: module for inner, module in pooler.named_modules(prefix=name) if isinstance(module, nn.Linear)}


def linear_roles(model: "nn.Module") -> dict[str, Role]:
    """The role of every Linear of the encoder's layers and of the pooler.

    Returns:
        Full dotted name -> role; heads and embedding projections have none and are left out.

    Raises:
        ConfigurationError: If `ROLES` has no table for the model's type, or the table doesn't name one of its layers.
    """
    _, base = _base_model(model)
    model_type = str(getattr(base.config, "model_type", None))
    if model_type not in ROLES:
        raise ConfigurationError(
            f"model_type {model_type!r} has no table of roles; known are {', '.join(sorted(ROLES))}; "
            "add a table for it to pruneofa.architectures.ROLES"
        )
    endings = sorted(ROLES[model_type].items(), key=lambda item: len(item[0]), reverse=True)
    roles: dict[str, Role] = {}
    for name in encoder_linears(model) | pooler_linears(model):
        role = next((role for ending, role in endings if f".{name}".endswith(f".{ending}")), None)
        if role is None:
            raise ConfigurationError(
                f"module {name!r} has no role: the table for model_type {model_type!r} knows the endings "
                f"{', '.join(ROLES[model_type])}"
            )
        roles[name] = role
    return roles


def match_modules(names: Iterable[str], targets: Iterable[str], ignore: Iterable[str] = ()) -> list[str]:
    """The names that some pattern of `targets` matches and none of `ignore` does, in the order of `names`.

    Args:
        names: Dotted module names.
        targets: Patterns for the whole name: a glob (`*` also crosses dots), or `re:` and a regular expression.
        ignore: Patterns of the same kind; one that matches nothing is only logged, so that one list serves many models.

    Raises:
        ConfigurationError: If a pattern of `targets` matches no name, a regular expression is malformed, or `ignore`
            leaves nothing over.
    """
    names = list(names)
    targets = list(targets)
    chosen: set[str] = set()
    for pattern in targets:
        hits = _matches(names, pattern)
        if not hits:
            raise ConfigurationError(f"targets: pattern {pattern!r} matches no module; {_nearest(pattern, names)}")
        chosen |= hits
    ignored: set[str] = set()
    for pattern in ignore:
        hits = _matches(names, pattern)
        if not hits:
            logger.warning("ignore: pattern %r matches no module", pattern)
        ignored |= hits
    if chosen and chosen <= ignored:
        raise ConfigurationError(f"ignore: its patterns exclude every module that targets {targets} matched")
    return [name for name in names if name in chosen and name not in ignored]


def _depth(base: "nn.Module") -> int | None:
    return getattr(base.config, "num_hidden_layers", None) or getattr(base.config, "n_layers", None)


def _base_model(model: "nn.Module") -> tuple[str, "nn.Module"]:
    """The dotted name and the module of the encoder that `model` is, or holds somewhere inside."""
    for _, module in model.named_modules():
        base = getattr(module, "base_model", None)
        if base is None or not hasattr(base, "config"):
            continue
        for name, candidate in model.named_modules():
            if candidate is base:
                return name, candidate
    raise ConfigurationError(
        f"{type(model).__name__} holds no model of transformers (a module with base_model and config)"
    )


def _matches(names: list[str], pattern: str) -> set[str]:
    if not pattern.startswith("re:"):
        return {name for name in names if fnmatch.fnmatchcase(name, pattern)}
    try:
        expression = re.compile(pattern.removeprefix("re:"))
    except re.error as error:
        raise ConfigurationError(f"pattern {pattern!r} is not a regular expression: {error}") from error
    return {name for name in names if expression.fullmatch(name)}


def _nearest(pattern: str, names: list[str]) -> str:
    if not names:
        return "the model has no module to choose from"
    nearest = difflib.get_close_matches(pattern.removeprefix("re:").strip("*."), names, n=3, cutoff=0.0)
    return f"nearest modules: {', '.join(nearest)} (a pattern must fit the whole name; `*` crosses dots)"
