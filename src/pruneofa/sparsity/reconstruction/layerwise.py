"""Prune an encoder in one shot, layer by layer, each fitted to the dense model with inputs from the pruned one."""

import copy
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruneofa.errors import DataError
from pruneofa.sparsity.reconstruction.admm import admm_mask
from pruneofa.sparsity.reconstruction.allocation import budgets_by_sensitivity, uniform_budgets
from pruneofa.sparsity.reconstruction.calls import (
    Batch,
    LayerCall,
    check_calls_agree,
    first_call,
    input_groups,
    observe,
    token_count,
    token_mask,
)
from pruneofa.sparsity.reconstruction.config import ReconstructionConfig
from pruneofa.sparsity.reconstruction.layer_plan import PlannedLayer, plan_layers
from pruneofa.sparsity.reconstruction.least_squares import least_squares
from pruneofa.sparsity.reconstruction.moments import InputMoments
from pruneofa.sparsity.reconstruction.obs import prune_by_obs
from pruneofa.sparsity.reconstruction.problem import LayerProblem
from pruneofa.sparsity.reconstruction.sensitivity import measure_sensitivity

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called as (what is done, how much of it, of how much)."""

_RAISED_DAMPING = 0.1
"""Least damping where there are fewer tokens than inputs, so that `X^T X` lacks full rank."""


@dataclass(frozen=True)
class LinearReport:
    """What became of one Linear layer.

    Attributes:
        name: full dotted name.
        size, zeros: weights, and those that are +0.0 now.
        budget: how many were to go.
        relative_error: squared error of its output over the output's squared deviation from the mean (of a layer
            without bias: over its squares), on the calibration tokens.
        tokens: that it was fitted on.
        damping: share of the Hessian's mean diagonal that was added for the fit.
        seconds: for mask and weights.
    """

    name: str
    size: int
    zeros: int
    budget: int
    relative_error: float
    tokens: int
    damping: float
    seconds: float


@torch.no_grad()
def reconstruct(
    model: nn.Module, batches: Sequence[Batch], config: ReconstructionConfig, progress: Progress | None = None
) -> list[LinearReport]:
    """Prune a model in place.

    Each Linear layer gets the inputs that the layers before it, pruned already, give, and is fitted to what the dense
    one gives for the dense inputs, so that errors don't add up. A Linear before a residual sum is fitted to the dense
    sum, less the pruned residual. Biases are fitted with the weights. The model is in eval mode afterwards.

    Args:
        model: of transformers, with or without a head, in float32 or float64.
        batches: of calibration texts; tokens with an attention mask of 0 don't count.
        config: how far and how.
        progress: told of each Linear that is done.

    Returns:
        A report for each pruned Linear, in the order of the work.

    Raises:
        ConfigurationError: the model has no such layers, or they can't be run one by one.
        DataError: there is no token to calibrate on, or a weight or an activation is not finite.
    """
    if not batches:
        raise DataError("layer-wise reconstruction needs at least one batch of calibration texts")
    model.eval()
    layers = plan_layers(model, config)
    modules = {layer.name: model.get_submodule(layer.name) for layer in layers}
    check_calls_agree(model, modules, batches[0])
    _warn_of_few_tokens(layers, batches)
    sizes = {
        f"{layer.name}.{name}": linear.weight.numel() for layer in layers for name, linear in layer.linears.items()
    }
    if config.budget == "sensitivity" and config.target_sparsity > 0.0:
        curves = measure_sensitivity(model, layers, batches, config, progress)
        budgets = budgets_by_sensitivity(sizes, curves, config.target_sparsity)
    else:
        budgets = uniform_budgets(sizes, config.target_sparsity)
    first = next(iter(modules.values()))
    dense_states = [first_call(model, first, batch)[0] for batch in batches]
    pruned_states = list(dense_states)
    reports: list[LinearReport] = []
    for planned in layers:
        layer, dense = modules[planned.name], copy.deepcopy(modules[planned.name])
        state = _LayerState(model, first, batches, dense_states, pruned_states)
        for names in input_groups(layer, state.call(0), pruned_states[0], planned.linears):
            moments = _gather(planned, names, layer, dense, state)
            for name in names:
                full = f"{planned.name}.{name}"
                reports.append(_prune_linear(full, planned.linears[name], moments, name, budgets[full], config))
                if progress is not None:
                    progress("layers", len(reports), len(sizes))
        for number in range(len(batches)):
            call = state.call(number)
            dense_states[number] = call.run(dense, dense_states[number])
            pruned_states[number] = call.run(layer, pruned_states[number])
    return reports


def _warn_of_few_tokens(layers: Sequence[PlannedLayer], batches: Sequence[Batch]) -> None:
    """Say it where there are too few tokens for a Hessian of full rank.

    Raises:
        DataError: there is none.
    """
    tokens = sum(token_count(batch) for batch in batches)
    if not tokens:
        raise DataError("the calibration texts hold no token; give texts of several words")
    widest = max(linear.in_features for layer in layers for linear in layer.linears.values())
    if tokens <= widest:
        logger.warning(
            "%d tokens of calibration text are too few for layers of %d inputs (their Hessian lacks full rank); the "
            "damping is raised to %g there, give more texts for a better fit",
            tokens,
            widest,
            _RAISED_DAMPING,
        )


@dataclass(frozen=True)
class _LayerState:
    """The hidden states before a layer, in the dense and the pruned model."""

    model: nn.Module
    first: nn.Module
    batches: Sequence[Batch]
    dense: list[Tensor]
    pruned: list[Tensor]

    def call(self, number: int) -> LayerCall:
        return first_call(self.model, self.first, self.batches[number])[1]


def _gather(
    planned: PlannedLayer, names: Sequence[str], layer: nn.Module, dense: nn.Module, state: _LayerState
) -> InputMoments:
    """The moments of Linear layers with one common input over all batches."""
    norm = planned.norms.get(names[0]) if len(names) == 1 else None
    linears = planned.linears
    moments = InputMoments(linears[names[0]].in_features, {name: linears[name].out_features for name in names})
    for number, batch in enumerate(state.batches):
        call = state.call(number)
        keep = token_mask(batch, state.pruned[number])
        wanted, got = (
            observe(module, call, hidden, {name: module.get_submodule(name) for name in names}, _module(module, norm))
            for module, hidden in ((dense, state.dense[number]), (layer, state.pruned[number]))
        )
        targets = dict(wanted.outputs)
        if wanted.norm_input is not None and got.norm_input is not None:
            # The dense sum less the pruned residual: what this layer should add here.
            targets = {name: wanted.norm_input - (got.norm_input - got.outputs[name]) for name in names}
        moments.add(got.inputs[keep], {name: target[keep] for name, target in targets.items()})
    return moments


def _module(layer: nn.Module, name: str | None) -> nn.Module | None:
    return None if name is None else layer.get_submodule(name)


def _prune_linear(
    name: str, linear: nn.Linear, moments: InputMoments, key: str, count: int, config: ReconstructionConfig
) -> LinearReport:
    """Prune one Linear in place."""
    begin = time.monotonic()
    problem = moments.problem(key, linear.weight, bias=linear.bias is not None)
    weight, damping = prune_weight(problem, count, config)
    linear.weight.copy_(weight)
    if linear.bias is not None:
        linear.bias.copy_(problem.bias(weight))
    return LinearReport(
        name=name,
        size=weight.numel(),
        zeros=int((linear.weight == 0).sum()),
        budget=count,
        relative_error=problem.relative_error(weight),
        tokens=problem.tokens,
        damping=damping,
        seconds=time.monotonic() - begin,
    )


def prune_weight(problem: LayerProblem, count: int, config: ReconstructionConfig) -> tuple[Tensor, float]:
    """A layer's pruned weight with `count` zeros, and the damping that it was fitted with."""
    mask_damping, damping = config.mask_damping, config.damping
    if not problem.full_rank:
        mask_damping, damping = max(mask_damping, _RAISED_DAMPING), max(damping, _RAISED_DAMPING)
    if config.masks == "obs":
        start, mask = prune_by_obs(problem, count, mask_damping)
    else:
        mask = admm_mask(problem, count, iterations=config.iterations, damping=mask_damping)
        start = problem.weight
    return least_squares(problem, start, mask, damping), damping
