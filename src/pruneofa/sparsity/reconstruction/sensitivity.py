"""What the pruning of each layer alone does to the output of the encoder, measured."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pruneofa.sparsity.budget import prune_count
from pruneofa.sparsity.reconstruction.allocation import SensitivityCurve
from pruneofa.sparsity.reconstruction.calls import (
    Batch,
    LayerCall,
    first_call,
    input_groups,
    observe,
    token_count,
    token_mask,
)
from pruneofa.sparsity.reconstruction.config import ReconstructionConfig
from pruneofa.sparsity.reconstruction.layer_plan import PlannedLayer
from pruneofa.sparsity.reconstruction.moments import InputMoments
from pruneofa.sparsity.reconstruction.obs import prune_by_obs

_TOKENS = 6_000
"""Calibration tokens, at least, that the Hessians of this measurement come from."""

_JUDGED = 1_500
"""Tokens, at least, that the output is compared on."""


def measure_sensitivity(
    model: nn.Module,
    layers: Sequence[PlannedLayer],
    batches: Sequence[Batch],
    config: ReconstructionConfig,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, SensitivityCurve]:
    """Prune each Linear of the dense model alone, at two sparsities around the target, and compare the last states.

    The masks and weights are those of OBS (`prune_by_obs`), which is quick. The model is left as it was.

    Returns:
        Full dotted name of each Linear -> its curve.
    """
    chosen = _spread(batches, _TOKENS)
    judged = _spread(chosen, _JUDGED)
    modules = [model.get_submodule(layer.name) for layer in layers]
    target = config.target_sparsity
    sparsities = (max(0.5 * target, 1.5 * target - 0.5), 0.5 * (1.0 + target))
    states = [first_call(model, modules[0], batch)[0] for batch in chosen]
    run = _Judge(model, modules, judged)
    curves: dict[str, SensitivityCurve] = {}
    total = sum(len(layer.linears) for layer in layers)
    for depth, (planned, layer) in enumerate(zip(layers, modules, strict=True)):
        calls = [first_call(model, modules[0], batch)[1] for batch in chosen]
        for names in input_groups(layer, calls[0], states[0], planned.linears):
            moments = _moments(planned, names, layer, calls, states, chosen)
            for name in names:
                linear = planned.linears[name]
                problem = moments.problem(name, linear.weight, bias=linear.bias is not None)
                damping = config.mask_damping if problem.full_rank else max(config.mask_damping, 0.1)
                points = []
                for sparsity in sparsities:
                    pruned, _ = prune_by_obs(problem, prune_count(sparsity, linear.weight.numel()), damping)
                    points.append((sparsity, run.error_with(depth, linear, pruned, problem.bias(pruned))))
                curves[f"{planned.name}.{name}"] = SensitivityCurve.through(points[0], points[1])
                if progress is not None:
                    progress("sensitivity", len(curves), total)
        states = [call.run(layer, hidden) for call, hidden in zip(calls, states, strict=True)]
        run.advance(depth)
    return curves


class _Judge:
    """Compares the last hidden states of the encoder with those of the dense one, from a given layer on."""

    def __init__(self, model: nn.Module, modules: Sequence[nn.Module], batches: Sequence[Batch]) -> None:
        self._modules = modules
        first = [first_call(model, modules[0], batch) for batch in batches]
        self._calls = [call for _, call in first]
        self._states = [hidden for hidden, _ in first]
        self._masks = [token_mask(batch, hidden) for batch, (hidden, _) in zip(batches, first, strict=True)]
        self._dense = self._outputs(0)

    def _outputs(self, depth: int) -> list[Tensor]:
        found = []
        for call, hidden, mask in zip(self._calls, self._states, self._masks, strict=True):
            for module in self._modules[depth:]:
                hidden = call.run(module, hidden)
            found.append(hidden[mask].double())
        return found

    def error_with(self, depth: int, linear: nn.Linear, weight: Tensor, bias: Tensor) -> float:
        """Squared error of the last states over their squares, with another weight (and bias) in one Linear."""
        kept = linear.weight.clone(), None if linear.bias is None else linear.bias.clone()
        linear.weight.copy_(weight)
        if linear.bias is not None:
            linear.bias.copy_(bias)
        try:
            outputs = self._outputs(depth)
        finally:
            linear.weight.copy_(kept[0])
            if kept[1] is not None:
                linear.bias.copy_(kept[1])
        error = sum(float((new - old).square().sum()) for new, old in zip(outputs, self._dense, strict=True))
        return error / max(sum(float(old.square().sum()) for old in self._dense), 1e-30)

    def advance(self, depth: int) -> None:
        """Step over the layer at `depth`, so that later ones are judged from there."""
        module = self._modules[depth]
        self._states = [call.run(module, hidden) for call, hidden in zip(self._calls, self._states, strict=True)]


def _moments(
    planned: PlannedLayer,
    names: Sequence[str],
    layer: nn.Module,
    calls: Sequence[LayerCall],
    states: Sequence[Tensor],
    batches: Sequence[Batch],
) -> InputMoments:
    linears = {name: planned.linears[name] for name in names}
    moments = InputMoments(linears[names[0]].in_features, {name: one.out_features for name, one in linears.items()})
    for call, hidden, batch in zip(calls, states, batches, strict=True):
        seen = observe(layer, call, hidden, linears, None)
        keep = token_mask(batch, hidden)
        moments.add(seen.inputs[keep], {name: output[keep] for name, output in seen.outputs.items()})
    return moments


def _spread(batches: Sequence[Batch], tokens: int) -> list[Batch]:
    """Batches from all over the list (they are sorted by length) that hold as many tokens together."""
    every = sum(token_count(batch) for batch in batches)
    share = min(1.0, tokens / max(every, 1))
    count = max(1, round(share * len(batches)))
    picked = torch.linspace(0, len(batches) - 1, count).round().int().tolist() if count > 1 else [len(batches) // 2]
    return [batches[number] for number in picked]
