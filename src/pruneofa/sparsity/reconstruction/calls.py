"""Run an encoder layer by layer: each layer's call, and what its Linear layers take and give."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pruneofa.errors import ConfigurationError

Batch = Mapping[str, Tensor]
"""Keyword arguments of a model's forward."""


@dataclass(frozen=True)
class LayerCall:
    """How a layer is called, all but the hidden states: mask, position bias and whatever else the family passes."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def run(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """The layer's output for these hidden states, `[batch, tokens, width]`."""
        output = layer(hidden, *self.args, **self.kwargs)
        states: Tensor = output[0] if isinstance(output, tuple | list) else output
        return states


@dataclass(frozen=True)
class Observed:
    """What Linear layers with one common input took and gave, and the sum that a norm behind them took."""

    inputs: Tensor
    outputs: Mapping[str, Tensor]
    norm_input: Tensor | None


class _EnoughError(Exception):
    """Ends a forward pass that has shown what was asked for."""


def first_call(model: nn.Module, layer: nn.Module, batch: Batch) -> tuple[Tensor, LayerCall]:
    """The hidden states that reach the first layer, and its call. Nothing behind it is computed.

    Raises:
        ConfigurationError: the layer is never called, or not with hidden states first.
    """
    found: list[tuple[Tensor, LayerCall]] = []

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.append(_split(args, kwargs))
        raise _EnoughError

    with _hooked(layer.register_forward_pre_hook(hook, with_kwargs=True)):
        try:
            model(**_moved(batch, model))
        except _EnoughError:
            return found[0]
    raise ConfigurationError(f"{type(model).__name__} never calls its first transformer layer; use another encoder")


def check_calls_agree(model: nn.Module, layers: Mapping[str, nn.Module], batch: Batch) -> None:
    """Raise ConfigurationError unless each layer is called once, and all in the same way but for hidden states."""
    seen: list[tuple[str, LayerCall]] = []

    def hook_of(name: str) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.append((name, _split(args, kwargs)[1]))

        return hook

    handles = [layer.register_forward_pre_hook(hook_of(name), with_kwargs=True) for name, layer in layers.items()]
    with _hooked(*handles):
        model(**_moved(batch, model))
    first = seen[0][1] if seen else None
    for name, call in seen:
        if first is None or not _same(call, first):
            raise ConfigurationError(
                f"the layer {name!r} is called with other arguments than the first one; layer-wise reconstruction "
                "needs an encoder whose layers share mask and positions"
            )
    if [name for name, _ in seen] != list(layers):
        raise ConfigurationError(
            f"{type(model).__name__} does not call its {len(layers)} transformer layers once each, in order; "
            "layer-wise reconstruction can't follow it"
        )


def observe(
    layer: nn.Module, call: LayerCall, hidden: Tensor, linears: Mapping[str, nn.Module], norm: nn.Module | None
) -> Observed:
    """Run a layer until `linears`, and `norm` where there is one, have been called.

    Raises:
        ConfigurationError: one of them is never called.
    """
    inputs: list[Tensor] = []
    outputs: dict[str, Tensor] = {}
    sums: list[Tensor] = []

    def done() -> bool:
        return len(outputs) == len(linears) and (norm is None or bool(sums))

    def linear_hook(name: str) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            inputs.append(args[0])
            outputs[name] = output
            if done():
                raise _EnoughError

        return hook

    def norm_hook(_: nn.Module, args: tuple[Any, ...]) -> None:
        sums.append(args[0])
        if done():
            raise _EnoughError

    handles = [linear.register_forward_hook(linear_hook(name)) for name, linear in linears.items()]
    if norm is not None:
        handles.append(norm.register_forward_pre_hook(norm_hook))
    with _hooked(*handles):
        try:
            call.run(layer, hidden)
        except _EnoughError:
            return Observed(inputs[0], outputs, sums[0] if norm is not None else None)
    missing = next((name for name in linears if name not in outputs), "the norm behind them")
    raise ConfigurationError(f"{missing!r} is never called by its transformer layer; name it in `ignore`")


def input_groups(
    layer: nn.Module, call: LayerCall, hidden: Tensor, linears: Mapping[str, nn.Module]
) -> list[list[str]]:
    """The Linear layers in the order of their calls; those that read the same tensor (query, key, value) together.

    Raises:
        ConfigurationError: one is never called, or several times.
    """
    calls: list[tuple[str, Tensor]] = []

    def hook_of(name: str) -> Any:
        return lambda _, args: calls.append((name, args[0]))

    with _hooked(*[linear.register_forward_pre_hook(hook_of(name)) for name, linear in linears.items()]):
        call.run(layer, hidden)
    if sorted(name for name, _ in calls) != sorted(linears):
        raise ConfigurationError(
            f"the Linear layers {', '.join(linears)} are not called once each; name the others in `ignore`"
        )
    groups: list[tuple[Tensor, list[str]]] = []
    for name, tensor in calls:
        if groups and groups[-1][0] is tensor:
            groups[-1][1].append(name)
        else:
            groups.append((tensor, [name]))
    return [names for _, names in groups]


def token_mask(batch: Batch, hidden: Tensor) -> Tensor:
    """True for tokens that are no padding, `[batch, tokens]`."""
    mask = batch.get("attention_mask")
    if mask is None:
        return torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
    return mask.to(hidden.device).bool()


def token_count(batch: Batch) -> int:
    """How many tokens of a batch are no padding."""
    mask = batch.get("attention_mask")
    return int(mask.bool().sum()) if mask is not None else batch["input_ids"].numel()


@contextmanager
def _hooked(*handles: Any) -> Iterator[None]:
    """Hooks that last for the block."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _moved(batch: Batch, model: nn.Module) -> dict[str, Tensor]:
    device = next(model.parameters()).device
    return {name: values.to(device) for name, values in batch.items()}


def _split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, LayerCall]:
    rest = dict(kwargs)
    hidden = args[0] if args else rest.pop("hidden_states", None)
    if not isinstance(hidden, Tensor) or hidden.ndim != 3:
        raise ConfigurationError(
            "the first argument of a transformer layer is no tensor of hidden states [batch, tokens, width]; "
            "layer-wise reconstruction can't follow this encoder"
        )
    return hidden, LayerCall(tuple(args[1:]), rest)


def _same(one: Any, other: Any) -> bool:
    """Whether two calls, or arguments of them, are equal."""
    if isinstance(one, LayerCall) and isinstance(other, LayerCall):
        return _same(one.args, other.args) and _same(dict(one.kwargs), dict(other.kwargs))
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one is other or (one.shape == other.shape and torch.equal(one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, Sequence) and isinstance(other, Sequence) and not isinstance(one, str):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one is other or one == other)
