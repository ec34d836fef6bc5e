"""Compile the transformer layers of a model, and only them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from pruneofa.architectures.linears import transformer_layers

__all__ = ["compiled_layers"]


@contextmanager
def compiled_layers(models: Iterable[nn.Module], backend: Any = "inductor") -> Iterator[None]:
    """Within the block the layers of `models` run compiled; names of modules and parameters stay as they are.

    All layers of a model share one compilation. What surrounds them (embeddings, selection of tokens, heads) depends on
    the data and would be compiled anew again and again.

    Args:
        models: student and teacher.
        backend: of `torch.compile`.
    """
    layers = [layer for model in models for layer in transformer_layers(model).values()]
    for layer in layers:
        layer.compile(backend=backend)
    try:
        yield
    finally:
        for layer in layers:
            layer._compiled_call_impl = None
