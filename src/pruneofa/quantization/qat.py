"""Quantization-aware training: prepare a model, switch its parts, convert it to the integer grid, and back."""

import logging

import torch
from torch import Tensor, nn

from pruneofa.architectures import linear_roles, match_modules
from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.fake import ActivationQuantizer, integer_weight
from pruneofa.quantization.linear import QATLinear
from pruneofa.quantization.parameters import LinearParameters, QuantizedState

__all__ = [
    "convert",
    "enable_fake_quantization",
    "prepare_from_state",
    "prepare_qat",
    "quantized_linears",
    "set_observers_frozen",
]

logger = logging.getLogger(__name__)


def prepare_qat(model: nn.Module, config: QuantizationConfig | None = None) -> nn.Module:
    """Turn the chosen Linear layers of `model`, in place, into `QATLinear`.

    Parameters stay the same objects under the same names, so this may come before or after an optimizer or a pruner.

    Args:
        model: A model of transformers (or a module that holds one).
        config: The scheme; the default is one weight scale per output row.

    Returns:
        `model`.

    Raises:
        ConfigurationError: If a target matches no Linear; if a layer was prepared before, computes something of its own
            or shares its weight with another module (an MLM decoder tied to the embeddings: put it into `ignore`); if
            outputs are to be quantized by role and the model type has no table of roles.
    """
    config = config or QuantizationConfig()
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    chosen = {name: linears[name] for name in match_modules(linears, config.targets, config.ignore)}
    roles = linear_roles(model) if config.quantize_outputs else {}
    for name, linear in chosen.items():
        _check_can_adopt(name, linear)
    _check_unshared(model, chosen)
    for name, linear in chosen.items():
        QATLinear.adopt(linear, config, roles.get(name) in config.quantize_outputs)
    logger.info("prepared %d Linear layers for quantization-aware training", len(chosen))
    return model


def quantized_linears(model: nn.Module) -> dict[str, QATLinear]:
    """The prepared layers of `model` by dotted name.

    Raises:
        ConfigurationError: If there are none.
    """
    found = {name: module for name, module in model.named_modules() if isinstance(module, QATLinear)}
    if not found:
        raise ConfigurationError(
            f"{type(model).__name__} has no layer prepared for quantization; call prepare_qat first"
        )
    return found


def set_observers_frozen(model: nn.Module, frozen: bool) -> None:
    """Keep all activation ranges as they are (True), or let them follow the data in training mode again (False)."""
    for linear in quantized_linears(model).values():
        for quantizer in linear.activation_quantizers.values():
            quantizer.observer.set_frozen(frozen)


def enable_fake_quantization(model: nn.Module, enabled: bool) -> None:
    """Compute fake-quantized (True) or as a float model (False); observers follow the data in both cases.

    Not part of the state dict: a run that is resumed sets it again.
    """
    for linear in quantized_linears(model).values():
        linear.fake_quantization = enabled


@torch.no_grad()
def convert(model: nn.Module) -> QuantizedState:
    """Put the weights, in place, onto their integer grid and turn each `QATLinear` back into a plain Linear.

    Each weight becomes `float32(q) * scale` exactly (one float32 product), with q = `integer_weight(weight, scale)`.
    The model then saves under plain names and loads with plain `from_pretrained`.

    Returns:
        Scales and zero points per module, on the CPU.

    Raises:
        ConfigurationError: If an observer has seen no batch, a weight isn't float32, or a value isn't finite. The model
            is then left as it was.
    """
    linears = quantized_linears(model)
    unseen = [name for name, linear in linears.items() if not _all_observed(linear)]
    if unseen:
        raise ConfigurationError(
            f"no activation range was observed for {_listed(unseen)}; run batches through the model in training mode "
            "before convert, or put modules that the forward pass never reaches into ignore"
        )
    modules = {name: _parameters_of(name, linear) for name, linear in linears.items()}
    config = next(iter(linears.values())).scheme
    for name, linear in linears.items():
        scale = linear.weight_quantizer.scale_of(linear.weight)
        levels = integer_weight(linear.weight, scale, linear.scheme)
        linear.weight.copy_(levels.float() * scale[:, None])
        linear.release()
        logger.debug("converted %s", name)
    return QuantizedState(config, modules)


@torch.no_grad()
def prepare_from_state(model: nn.Module, state: QuantizedState) -> nn.Module:
    """Make a converted model compute fake-quantized again: stored scales, frozen activation ranges, the same weights.

    Args:
        model: The model that `convert` left, or the same loaded with `from_pretrained` in float32.
        state: What `convert` returned, or `load_quantization` read.

    Returns:
        `model`, whose outputs in eval mode equal those before `convert` bit for bit.

    Raises:
        CheckpointError: If a module is missing, isn't a Linear of the stored form, or its weight isn't on the grid.
        ConfigurationError: If a layer is prepared already.
    """
    available = dict(model.named_modules())
    linears: dict[str, nn.Linear] = {}
    for name, parameters in state.modules.items():
        linear = available.get(name)
        if not isinstance(linear, nn.Linear):
            raise CheckpointError(
                f"the quantized module {name!r} is no Linear of this {type(model).__name__}; load the model class that "
                "was quantized"
            )
        _check_can_adopt(name, linear)
        _check_on_grid(name, linear.weight, parameters.weight_scale, state.config)
        linears[name] = linear
    for name, linear in linears.items():
        parameters = state.modules[name]
        adopted = QATLinear.adopt(linear, state.config, parameters.output_scale is not None)
        adopted.weight_quantizer.fix_scale(parameters.weight_scale.to(linear.weight.device, copy=True))
        adopted.input_quantizer.fix_parameters(parameters.input_scale, parameters.input_zero_point)
        if adopted.output_quantizer is not None:
            assert parameters.output_scale is not None and parameters.output_zero_point is not None
            adopted.output_quantizer.fix_parameters(parameters.output_scale, parameters.output_zero_point)
    return model


def _check_can_adopt(name: str, linear: nn.Linear) -> None:
    if isinstance(linear, QATLinear):
        raise ConfigurationError(f"module {name!r} is prepared for quantization already; convert it first")
    if type(linear).forward is not nn.Linear.forward:
        raise ConfigurationError(
            f"module {name!r} is a {type(linear).__name__} with a forward of its own, which can't be quantized; "
            "put it into ignore"
        )


def _check_unshared(model: nn.Module, chosen: dict[str, nn.Linear]) -> None:
    """Moving a shared weight onto a grid would move the other holder (an embedding) too."""
    holders: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            holders.setdefault(id(parameter), []).append(name)
    for name, linear in chosen.items():
        others = [holder for holder in holders[id(linear.weight)] if holder != name]
        if others:
            raise ConfigurationError(
                f"module {name!r} shares its weight with {_listed(others)}, which would be quantized too; "
                f"put {name!r} into ignore"
            )


def _check_on_grid(name: str, weight: Tensor, scale: Tensor, config: QuantizationConfig) -> None:
    rows = weight.shape[0] if config.weight_granularity == "per_channel" else 1
    if tuple(scale.shape) != (rows,):
        raise CheckpointError(
            f"{name}.weight_scale has shape {list(scale.shape)}, the model's weight {list(weight.shape)} needs [{rows}]"
        )
    scale = scale.to(weight.device)
    grid = integer_weight(weight, scale, config).float() * scale[:, None]
    if weight.dtype != torch.float32 or not torch.equal(weight, grid):
        raise CheckpointError(
            f"{name}.weight ({weight.dtype}) isn't on the integer grid of its stored scale; load the model that was "
            "saved with these scales, in float32"
        )


def _all_observed(linear: QATLinear) -> bool:
    return all(quantizer.observer.is_initialized for quantizer in linear.activation_quantizers.values())


def _parameters_of(name: str, linear: QATLinear) -> LinearParameters:
    if linear.weight.dtype != torch.float32:
        raise ConfigurationError(
            f"{name}.weight is {linear.weight.dtype}, which can't hold the integer grid; call model.float() before "
            "convert"
        )
    if not torch.isfinite(linear.weight).all():
        raise ConfigurationError(f"{name}.weight has values that are not finite; training has diverged")
    output = linear.output_quantizer
    return LinearParameters(
        weight_scale=linear.weight_quantizer.scale_of(linear.weight).detach().to("cpu", copy=True),
        input_scale=_scale_of(f"{name}.input_scale", linear.input_quantizer),
        input_zero_point=_zero_point_of(linear.input_quantizer),
        output_scale=None if output is None else _scale_of(f"{name}.output_scale", output),
        output_zero_point=None if output is None else _zero_point_of(output),
    )


def _scale_of(name: str, quantizer: ActivationQuantizer) -> Tensor:
    if not torch.isfinite(quantizer.scale).all():
        raise ConfigurationError(f"{name} is not finite: the observed range is too wide; training has diverged")
    return quantizer.scale.detach().to("cpu", copy=True)


def _zero_point_of(quantizer: ActivationQuantizer) -> Tensor:
    return quantizer.zero_point.detach().to("cpu", torch.uint8)


def _listed(names: list[str], limit: int = 4) -> str:
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
