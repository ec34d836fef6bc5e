"""What of a model is pruned layer by layer: its layers, their Linear layers, and the norms behind residual sums."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from pruneofa.architectures.families import find_family
from pruneofa.architectures.linears import encoder_linears, linear_roles, transformer_layers
from pruneofa.errors import ConfigurationError, DataError
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.sparsity.reconstruction.config import ReconstructionConfig
from pruneofa.sparsity.targets import target_modules


@dataclass(frozen=True)
class PlannedLayer:
    """One transformer layer.

    Attributes:
        name: full dotted name.
        linears: name within the layer -> Linear that is pruned.
        norms: name of a Linear -> name of the norm that takes its output, added to the residual; both within the layer.
    """

    name: str
    linears: Mapping[str, nn.Linear]
    norms: Mapping[str, str]


def plan_layers(model: nn.Module, config: ReconstructionConfig) -> list[PlannedLayer]:
    """The layers of a model in their order.

    Norms are known for registered families; elsewhere each Linear is fitted to its own dense output alone.

    Raises:
        ConfigurationError: the model has no such layers, or `ignore` leaves nothing.
        DataError: a weight is not finite.
    """
    pruned = set(target_modules(model, SparsityConfig(ignore=config.ignore)))
    linears = {name: linear for name, linear in encoder_linears(model).items() if name in pruned}
    for name, linear in linears.items():
        if not bool(linear.weight.isfinite().all()):
            raise DataError(f"the weight of {name!r} holds NaN or infinity; give an intact model")
    layers = []
    for name in transformer_layers(model):
        inner = {key.removeprefix(f"{name}."): linear for key, linear in linears.items() if key.startswith(f"{name}.")}
        layers.append(PlannedLayer(name, inner, _norms(model, name, inner) if config.residual_targets else {}))
    missed = len(linears) - sum(len(layer.linears) for layer in layers)
    if missed:
        raise ConfigurationError(
            f"{missed} Linear layers lie in no transformer layer of their own; name them in `ignore`"
        )
    return layers


def _norms(model: nn.Module, layer: str, linears: Mapping[str, nn.Linear]) -> dict[str, str]:
    base = getattr(model, "base_model", model)
    family = find_family(getattr(getattr(base, "config", None), "model_type", None))
    if family is None:
        return {}
    behind = {"attention_output": family.attention_norm, "ffn_out": family.output_norm}
    roles = linear_roles(model)
    found = {name: behind[roles[f"{layer}.{name}"]] for name in linears if roles[f"{layer}.{name}"] in behind}
    known = {name for name, _ in model.get_submodule(layer).named_modules()}
    return {name: norm for name, norm in found.items() if norm in known}
