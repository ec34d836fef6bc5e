"""FSDP2: a model split over the ranks while it is trained, and whole again afterwards."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule, fully_shard

from pruneofa.architectures.linears import transformer_layers
from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.lock import PatternLock
from pruneofa.sparsity.pruner import Pruner


def shard(model: nn.Module, *, reshard_after_forward: bool = True) -> None:
    """Split `model` over all ranks in place: each transformer layer on its own, all else together.

    Accelerate's own rule takes the vocabulary's weights apart from biases and embeddings that they are tied to, which
    `fully_shard` refuses. What is split already stays as it is.

    Args:
        model: whole, the same on every rank.
        reshard_after_forward: let a layer's gathered weights go after its forward pass, and gather them once more for
            the backward pass: less memory, more to send.
    """
    if isinstance(model, FSDPModule):
        return
    for layer in transformer_layers(model).values():
        fully_shard(layer, reshard_after_forward=reshard_after_forward)
    fully_shard(model)


def is_split(model: nn.Module) -> bool:
    """Whether `shard`, or `fully_shard` itself, has split `model`."""
    return isinstance(model, FSDPModule)


@contextmanager
def stand_in(model: nn.Module, pruner: Any) -> Iterator[nn.Module]:
    """Within the block a copy of `model` to be split, which replaces a model's parameters and its class.

    When it ends well, `model` holds the copy's weights and buffers on every rank, and the pruner or lock is on it
    again. So one more copy of the model lies in each process's memory (not the device's).

    Raises:
        ConfigurationError: the model is prepared for quantization.
    """
    from pruneofa.quantization.linear import QATLinear

    if any(isinstance(module, QATLinear) for module in model.modules()):
        raise ConfigurationError(
            "fsdp is true, but a model is trained with rounding to int8 only as a whole; set quantize.training.fsdp to "
            "false (several processes then train with DDP)"
        )
    trained = copy.deepcopy(model)
    keeper = pruner if isinstance(pruner, Pruner | PatternLock) else None
    if keeper is not None:
        keeper.move_to(trained)
    yield trained
    # With cpu_offload the first rank alone would get them.
    model.load_state_dict(get_model_state_dict(trained, options=StateDictOptions(full_state_dict=True)))
    if keeper is not None:
        keeper.move_to(model)
