"""Prepare a model for quantization, switch its parts, convert it to the integer grid, and back."""

import logging
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from pruneofa.architectures.families import Role
from pruneofa.architectures.linears import embedding_tables, linear_roles
from pruneofa.architectures.matching import match_modules
from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.quantization.activations import ActivationQuantizer
from pruneofa.quantization.attention import (
    attention_modules,
    check_attention,
    prepare_attention,
    release_attention,
)
from pruneofa.quantization.checks import (
    check_can_adopt,
    check_convertible,
    check_kept_zeros,
    check_on_grid,
    check_unshared,
    listed,
)
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.embedding import QATEmbedding
from pruneofa.quantization.linear import QATLinear
from pruneofa.quantization.padding import heed_padding, ignore_padding
from pruneofa.quantization.parameters import EmbeddingParameters, LinearParameters, QuantizedState
from pruneofa.quantization.weights import integer_weight

__all__ = [
    "check_fits",
    "convert",
    "enable_fake_quantization",
    "is_prepared",
    "prepare_from_state",
    "prepare_qat",
    "quantized_embeddings",
    "quantized_linears",
    "set_observers_frozen",
    "state_of",
]

logger = logging.getLogger(__name__)

_Kind = TypeVar("_Kind", nn.Linear, nn.Embedding)
_STATE = "quantized_state"


def prepare_qat(model: nn.Module, config: QuantizationConfig | None = None) -> nn.Module:
    """Turn the chosen Linear layers of `model`, in place, into `QATLinear`; embedding tables and attention as asked.

    Parameters stay the same objects under the same names, so this may come before or after an optimizer or a pruner.
    Then train, or call `calibrate`, or both.

    Args:
        model: A model of transformers (or a module that holds one).
        config: The scheme; the default is one weight scale per output row.

    Returns:
        `model`.

    Raises:
        ConfigurationError: If a pattern matches nothing; if a module was prepared before, computes something of its own
            or shares its weight with another module (an MLM decoder tied to the embeddings: put it into `ignore`); if
            outputs are to be quantized by role and the model type has no table of roles; if attention products are
            wanted and can't be had.
    """
    config = config or QuantizationConfig()
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    tables = embedding_tables(model) if config.embeddings != "float" else {}
    matched = match_modules(linears, config.targets)
    kept = set(match_modules([*matched, *tables], ["*"], config.ignore))
    chosen = {name: linears[name] for name in matched if name in kept}
    chosen_tables = {name: table for name, table in tables.items() if name in kept}
    if not chosen:
        raise ConfigurationError(f"ignore: its patterns exclude every Linear that targets {config.targets} matched")
    roles = linear_roles(model) if config.output_roles else {}
    steps = _weight_steps(config, chosen)
    both: dict[str, nn.Linear | nn.Embedding] = {**chosen, **chosen_tables}
    for name, module in both.items():
        check_can_adopt(name, module)
    check_unshared(model, both)
    if config.attention_products:
        check_attention(model, roles, chosen)
    for name, linear in chosen.items():
        _adopt(linear, config, roles.get(name), steps.get(name))
    for table in chosen_tables.values():
        adopted = QATEmbedding.adopt(table, config.embedding_grid())
        if adopted.weight_quantizer.grid.least_squares:
            adopted.weight_quantizer.fix_scale(adopted.weight_quantizer.scale_of(adopted.weight))
    if config.attention_products:
        prepare_attention(model, roles)
    heed_padding(model)
    vars(model).pop(_STATE, None)
    logger.info("prepared %d Linear layers and %d embedding tables for quantization", len(chosen), len(chosen_tables))
    return model


def _adopt(linear: nn.Linear, config: QuantizationConfig, role: Role | None, step: float | None) -> None:
    adopted = QATLinear.adopt(linear, config, role in config.output_roles, config.weight_grid(step))
    if adopted.weight_quantizer.grid.least_squares:
        adopted.weight_quantizer.fix_scale(adopted.weight_quantizer.scale_of(adopted.weight))


def _weight_steps(config: QuantizationConfig, chosen: dict[str, nn.Linear]) -> dict[str, float]:
    """The step of each module that a pattern of `weight_steps` names."""
    steps: dict[str, float] = {}
    for pattern, step in config.weight_steps.items():
        try:
            found = match_modules(chosen, [pattern])
        except ConfigurationError as error:
            raise ConfigurationError(f"weight_steps: {str(error).removeprefix('targets: ')}") from None
        for name in found:
            steps.setdefault(name, step)
    return steps


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


def quantized_embeddings(model: nn.Module) -> dict[str, QATEmbedding]:
    """The prepared embedding tables of `model` by dotted name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, QATEmbedding)}


def set_observers_frozen(model: nn.Module, frozen: bool) -> None:
    """Keep all activation ranges as they are (True), or let them follow the data in training mode again (False)."""
    for linear in quantized_linears(model).values():
        for quantizer in linear.activation_quantizers.values():
            quantizer.set_frozen(frozen)


def enable_fake_quantization(model: nn.Module, enabled: bool) -> None:
    """Compute fake-quantized (True) or as a float model (False); observers follow the data in both cases.

    Not part of the state dict: a run that is resumed sets it again.
    """
    for linear in quantized_linears(model).values():
        linear.quantizes_weight = linear.quantizes_activations = enabled
    for table in quantized_embeddings(model).values():
        table.quantizes_weight = enabled
    for products in attention_modules(model).values():
        products.quantizes = enabled


@torch.no_grad()
def convert(model: nn.Module) -> QuantizedState:
    """Put the weights, in place, onto their integer grid and turn each prepared module back into a plain one.

    Each weight becomes `float32(q) * scale` exactly (one float32 product), with q = `integer_weight(weight, scale)`.
    The model then saves under plain names and loads with plain `from_pretrained`. Weights that are not zero but round
    to 0 stay part of the pattern: they are listed in the state.

    Returns:
        Scales and zero points per module, on the CPU.

    Raises:
        ConfigurationError: If an observer has seen no batch, a weight isn't float32, or a value isn't finite. The model
            is then left as it was.
    """
    linears, tables = quantized_linears(model), quantized_embeddings(model)
    unseen = [name for name, linear in linears.items() if not _all_observed(linear)]
    if unseen:
        raise ConfigurationError(
            f"no activation range was observed for {listed(unseen)}; run batches through the model in training mode "
            "before convert, or put modules that the forward pass never reaches into ignore"
        )
    prepared: dict[str, QATLinear | QATEmbedding] = {**linears, **tables}
    for name, module in prepared.items():
        check_convertible(name, module.weight)
    _find_pending_ranges(linears.values())
    config = next(iter(linears.values())).scheme
    has_pattern = config.keep_pattern and any(bool((linear.weight == 0).any()) for linear in linears.values())
    modules = {name: _parameters_of(name, linear, has_pattern) for name, linear in linears.items()}
    embeddings = {
        name: EmbeddingParameters(table.weight_quantizer.scale_of(table.weight).detach().to("cpu", copy=True))
        for name, table in tables.items()
    }
    release_attention(model)
    ignore_padding(model)
    for module in prepared.values():
        scale = module.weight_quantizer.scale_of(module.weight)
        levels = integer_weight(module.weight, scale, module.weight_quantizer.grid)
        module.weight.copy_(levels.float() * scale[:, None])
        module.release()
    kept = sum(p.weight_kept_zeros.numel() for p in modules.values() if p.weight_kept_zeros is not None)
    if kept:
        logger.info("%d weights of the pattern round to 0; they stay part of it (weight_kept_zeros)", kept)
    vars(model)[_STATE] = state = QuantizedState(config, modules, embeddings)
    return state


def is_prepared(model: nn.Module) -> bool:
    """Whether a part of `model` is prepared for quantization and not converted."""
    return any(isinstance(module, QATLinear | QATEmbedding) for module in model.modules())


def state_of(model: nn.Module) -> QuantizedState | None:
    """What `convert` returned of this model; None where it was not called, or the model was prepared again.

    Raises:
        ConfigurationError: The model has changed since.
    """
    state: QuantizedState | None = vars(model).get(_STATE)
    if state is not None:
        try:
            check_fits(model, state)
        except CheckpointError as error:
            raise ConfigurationError(
                f"the model was converted to int8, but it has changed since: {error}. Prepare and convert it again, or "
                "give quantization=None to save it as float"
            ) from error
    return state


def check_fits(model: nn.Module, state: QuantizedState) -> None:
    """See that the weights of `model` lie on the grids of `state`.

    Raises:
        CheckpointError: A module is missing or of another kind, or its weight lies elsewhere.
    """
    for name, parameters in state.modules.items():
        weight = _stored_module(model, name, nn.Linear).weight
        check_on_grid(name, weight, parameters.weight_scale, state.config.weight_grid())
        if parameters.weight_kept_zeros is not None:
            check_kept_zeros(name, weight, parameters.weight_kept_zeros)
    for name, stored in state.embeddings.items():
        weight = _stored_module(model, name, nn.Embedding).weight
        check_on_grid(name, weight, stored.weight_scale, state.config.embedding_grid())


@torch.no_grad()
def prepare_from_state(model: nn.Module, state: QuantizedState) -> nn.Module:
    """Make a converted model compute fake-quantized again: stored scales, frozen activation ranges, the same weights.

    Args:
        model: The model that `convert` left, or the same loaded with `from_pretrained` in float32.
        state: What `convert` returned, or `load_quantization` read.

    Returns:
        `model`, whose outputs in eval mode equal those before `convert` bit for bit.

    Raises:
        CheckpointError: If a module is missing, isn't a Linear or Embedding of the stored form, or its weight isn't on
            the grid.
        ConfigurationError: If a layer is prepared already.
    """
    check_fits(model, state)
    config = state.config
    linears = {name: _stored_module(model, name, nn.Linear) for name in state.modules}
    tables = {name: _stored_module(model, name, nn.Embedding) for name in state.embeddings}
    roles = linear_roles(model) if config.attention_products else {}
    if config.attention_products:
        without = [n for n, role in roles.items() if role in ("q", "k", "v") and not _has_output(state, n)]
        if without:
            raise CheckpointError(f"attention_products is on, but no output grid is stored for {listed(without)}")
        check_attention(model, roles, linears)
    for name, linear in linears.items():
        _restore(linear, config, state.modules[name])
    for name, table in tables.items():
        adopted = QATEmbedding.adopt(table, config.embedding_grid())
        scale = state.embeddings[name].weight_scale
        adopted.weight_quantizer.fix_scale(scale.to(table.weight.device, copy=True))
    if config.attention_products:
        prepare_attention(model, roles)
    heed_padding(model)
    vars(model).pop(_STATE, None)
    return model


def _restore(linear: nn.Linear, config: QuantizationConfig, parameters: LinearParameters) -> None:
    adopted = QATLinear.adopt(linear, config, parameters.output_scale is not None)
    adopted.weight_quantizer.fix_scale(parameters.weight_scale.to(linear.weight.device, copy=True))
    adopted.kept_zeros = parameters.weight_kept_zeros
    adopted.input_quantizer.fix_parameters(parameters.input_scale, parameters.input_zero_point)
    if adopted.output_quantizer is not None:
        assert parameters.output_scale is not None and parameters.output_zero_point is not None
        adopted.output_quantizer.fix_parameters(parameters.output_scale, parameters.output_zero_point)


def _stored_module(model: nn.Module, name: str, kind: type[_Kind]) -> _Kind:
    module = dict(model.named_modules()).get(name)
    if not isinstance(module, kind):
        raise CheckpointError(
            f"the quantized module {name!r} is no {kind.__name__} of this {type(model).__name__}; load the model class "
            "that was quantized"
        )
    check_can_adopt(name, module)
    return module


def _has_output(state: QuantizedState, name: str) -> bool:
    return name in state.modules and state.modules[name].output_scale is not None


def _find_pending_ranges(linears: Iterable[QATLinear]) -> None:
    """Ranges that are found from all batches together are found now."""
    for linear in linears:
        for quantizer in linear.activation_quantizers.values():
            if not quantizer.observer.follows:
                quantizer.set_frozen(True)


def _all_observed(linear: QATLinear) -> bool:
    return all(quantizer.observer.is_initialized for quantizer in linear.activation_quantizers.values())


def _parameters_of(name: str, linear: QATLinear, has_pattern: bool) -> LinearParameters:
    output = linear.output_quantizer
    scale = linear.weight_quantizer.scale_of(linear.weight)
    levels = integer_weight(linear.weight, scale, linear.weight_quantizer.grid)
    kept = _kept_zeros(linear, levels) if has_pattern else torch.zeros(0, dtype=torch.int64)
    return LinearParameters(
        weight_scale=scale.detach().to("cpu", copy=True),
        input_scale=_scale_of(f"{name}.input_scale", linear.input_quantizer),
        input_zero_point=_zero_point_of(linear.input_quantizer),
        output_scale=None if output is None else _scale_of(f"{name}.output_scale", output),
        output_zero_point=None if output is None else _zero_point_of(output),
        weight_kept_zeros=kept.to("cpu", torch.int32) if kept.numel() else None,
    )


def _kept_zeros(linear: QATLinear, levels: Tensor) -> Tensor:
    """Row-major indices of weights that the pattern keeps, or that a dense weight has, but whose level is 0."""
    in_pattern = linear.weight != 0
    if linear.kept_zeros is not None:
        in_pattern.view(-1)[linear.kept_zeros.to(in_pattern.device).long()] = True
    return torch.nonzero(((levels == 0) & in_pattern).reshape(-1)).reshape(-1)


def _scale_of(name: str, quantizer: ActivationQuantizer) -> Tensor:
    if not torch.isfinite(quantizer.scale).all():
        raise ConfigurationError(f"{name} is not finite: the observed range is too wide; training has diverged")
    return quantizer.scale.detach().to("cpu", copy=True)


def _zero_point_of(quantizer: ActivationQuantizer) -> Tensor:
    return quantizer.zero_point.detach().to("cpu", torch.uint8)
