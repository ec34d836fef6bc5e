"""Where an encoder's Linear layers and tables are: found by structure, whatever its family is called."""

from typing import TYPE_CHECKING

from pruneofa.architectures.families import Role, family_of
from pruneofa.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["adapters", "embedding_tables", "encoder_linears", "linear_roles", "pooler_linears", "transformer_layers"]


def encoder_linears(model: "nn.Module") -> dict[str, "nn.Linear"]:
    """Every Linear inside the transformer layers of `model.base_model`, in the model's own order.

    Embedding projections, pooler and heads are not among them, nor adapters (LoRA and its like, see `adapters`).

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
    beside = adapters(model)
    found = {name: linear for name, linear in found.items() if name not in beside}
    if not found:
        base = _base_model(model)[1]
        raise ConfigurationError(
            f"no Linear found in the transformer layers of {type(base).__name__}: expected a ModuleList of "
            f"config.num_hidden_layers = {_depth(base)} layers that hold nn.Linear modules; use an encoder of that form"
        )
    return found


def adapters(model: "nn.Module") -> set[str]:
    """Names of the modules that adapters (the package peft's) added beside layers of the model.

    An adapted layer is a module whose child `base_layer` is the layer that was there before; all else in it was added.
    """
    found = set()
    for name, module in model.named_modules():
        if "base_layer" in module._modules:
            prefix = f"{name}." if name else ""
            own = f"{prefix}base_layer"
            found |= {
                inner
                for inner, _ in module.named_modules(prefix=name)
                if inner != name and inner != own and not inner.startswith(f"{own}.")
            }
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
    beside = adapters(model)
    return {
        inner: module
        for inner, module in pooler.named_modules(prefix=name)
        if isinstance(module, nn.Linear) and inner not in beside
    }


def linear_roles(model: "nn.Module") -> dict[str, Role]:
    """The role of every Linear of the encoder's layers and of the pooler.

    Returns:
        Full dotted name -> role; heads and embedding projections have none and are left out.

    Raises:
        ConfigurationError: If the model's type is not registered, or its family doesn't name one of its layers.
    """
    _, base = _base_model(model)
    family = family_of(getattr(base.config, "model_type", None))
    endings = sorted(family.roles.items(), key=lambda item: len(item[0]), reverse=True)
    roles: dict[str, Role] = {}
    for name in encoder_linears(model) | pooler_linears(model):
        role = next((role for ending, role in endings if f".{name}".endswith(f".{ending}")), None)
        if role is None:
            raise ConfigurationError(
                f"module {name!r} has no role: the table for model_type {family.model_type!r} knows the endings "
                f"{', '.join(family.roles)}"
            )
        roles[name] = role
    return roles


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
