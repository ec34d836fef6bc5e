"""What a saliency needs beside the weights, gathered by hooks on the model between two selections."""

import inspect
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.ranks import world_size
from pruneofa.sparsity.masks import MaskSet
from pruneofa.sparsity.saliency.fisher import outer_products
from pruneofa.sparsity.saliency.saliencies import Saliency
from pruneofa.sparsity.saliency.seen import SeenWeight
from pruneofa.sparsity.shards import is_sharded


class WeightStatistics:
    """Sums over passes in training mode; evaluation between them does not count.

    Gradients are those of each backward pass as they arise: before accumulation, clipping and masking. Those that are
    not finite (an overflow of mixed precision) don't count. Gradients take 200 bytes for each pruned weight
    (`fisher.BLOCK` floats).

    Args:
        masks: whose weights are looked at.
        saliency: what it needs is gathered.

    Raises:
        ConfigurationError: it needs statistics, and the run is one of several processes.
    """

    def __init__(self, masks: MaskSet, saliency: Saliency) -> None:
        self._masks = masks
        self._needs = saliency.needs
        self._fisher: dict[str, Tensor] = {}
        self._passes: dict[str, int] = {}
        self._power: dict[str, Tensor] = {}
        self._tokens: dict[str, int] = {}
        self._padding: Tensor | None = None
        self._handles: list[Any] = []
        self._hooked: dict[str, weakref.ref[Tensor]] = {}
        if self._needs and world_size() > 1:
            raise ConfigurationError(
                f"saliency: {', '.join(sorted(self._needs))} are gathered by one process alone; run one, or take "
                "magnitude"
            )

    def watch(self, model: nn.Module) -> None:
        """Hook the model, once; parameters that were replaced since are hooked anew."""
        if not self._needs:
            return
        if "inputs" in self._needs and not self._handles:
            self._handles.append(model.register_forward_pre_hook(self._note_padding(model), with_kwargs=True))
            for name in self._masks:
                self._handles.append(model.get_submodule(name).register_forward_pre_hook(self._input_hook(name)))
        if "gradients" in self._needs:
            for name, weight in self._masks.weights():
                if is_sharded(weight):
                    raise ConfigurationError("saliency: gradients of sharded weights are not gathered; take magnitude")
                known = self._hooked.get(name)
                if weight.requires_grad and (known is None or known() is not weight):
                    self._handles.append(weight.register_hook(self._gradient_hook(name)))  # type: ignore[no-untyped-call]
                    self._hooked[name] = weakref.ref(weight)

    def unwatch(self) -> None:
        """Remove the hooks; the sums stay."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._hooked = [], {}

    def seen(self, name: str, weight: Tensor) -> SeenWeight:
        """A weight with its statistics.

        Raises:
            ConfigurationError: nothing was gathered for it.
        """
        fisher = power = None
        if "gradients" in self._needs:
            if not self._passes.get(name):
                raise _nothing(name, "backward pass")
            fisher = self._fisher[name].to(weight.device) / self._passes[name]
        if "inputs" in self._needs:
            if not self._tokens.get(name):
                raise _nothing(name, "forward pass")
            power = self._power[name].to(weight.device) / self._tokens[name]
        return SeenWeight(weight, fisher, power)

    def forget(self) -> None:
        """Begin new sums."""
        self._fisher, self._passes, self._power, self._tokens = {}, {}, {}, {}

    def state(self) -> dict[str, Any]:
        """The sums so far, on the CPU; nothing for a saliency that needs none."""
        if not self._needs:
            return {}
        return {
            "fisher": {name: values.cpu() for name, values in self._fisher.items()},
            "passes": dict(self._passes),
            "power": {name: values.cpu() for name, values in self._power.items()},
            "tokens": dict(self._tokens),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from what holds the entries of `state()`.

        Raises:
            CheckpointError: it is of other modules or shapes.
        """
        fisher, power = state.get("fisher", {}), state.get("power", {})
        for name, values in [*fisher.items(), *power.items()]:
            if name not in self._masks:
                raise CheckpointError(f"pruner state: statistics of {name!r}, which this pruner does not prune")
            weight = self._masks.weight(name)
            wanted = outer_products(weight.detach()).shape if values is fisher.get(name) else weight.shape[1:]
            if values.shape != wanted:
                raise CheckpointError(
                    f"pruner state: statistics of {name!r} have shape {list(values.shape)}, needed is {list(wanted)}"
                )
        self._fisher = {name: self._beside(name, values) for name, values in fisher.items()}
        self._power = {name: self._beside(name, values) for name, values in power.items()}
        self._passes, self._tokens = dict(state.get("passes", {})), dict(state.get("tokens", {}))

    def _beside(self, name: str, values: Tensor) -> Tensor:
        return values.to(self._masks.weight(name).device).clone()

    def _gradient_hook(self, name: str) -> Any:
        own = weakref.ref(self)  # a parameter must not keep the statistics alive

        def hook(gradient: Tensor) -> None:
            statistics = own()
            if statistics is not None and bool(gradient.isfinite().all()):
                statistics._add_gradient(name, gradient.detach())

        return hook

    def _add_gradient(self, name: str, gradient: Tensor) -> None:
        products = outer_products(gradient)
        if name in self._fisher:
            self._fisher[name] += products
        else:
            self._fisher[name] = products
        self._passes[name] = self._passes.get(name, 0) + 1

    def _input_hook(self, name: str) -> Any:
        own = weakref.ref(self)

        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            statistics = own()
            if statistics is not None and module.training and torch.is_grad_enabled():
                statistics._add_inputs(name, args[0].detach())

        return hook

    def _add_inputs(self, name: str, inputs: Tensor) -> None:
        mask = self._padding
        if mask is not None and mask.shape == inputs.shape[:-1]:
            inputs = inputs[mask.to(inputs.device)]
        inputs = inputs.reshape(-1, inputs.shape[-1])
        power = inputs.double().square().sum(0)
        self._power[name] = self._power[name] + power if name in self._power else power
        self._tokens[name] = self._tokens.get(name, 0) + len(inputs)

    def _note_padding(self, model: nn.Module) -> Any:
        own, signature = weakref.ref(self), inspect.signature(model.forward)

        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            statistics = own()
            if statistics is not None:
                mask = signature.bind_partial(*args, **kwargs).arguments.get("attention_mask")
                known = isinstance(mask, Tensor) and mask.ndim == 2
                statistics._padding = mask.bool() if known and mask is not None else None

        return hook


def _nothing(name: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"saliency: no {what} reached {name!r} since the last selection; attach the pruner before the first pass, set "
        "begin_step to 1 or more, and train that module (or name it in `ignore`)"
    )
