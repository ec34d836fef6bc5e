"""The zeros that a model came with: what counts as its sparse pattern, and whether it is a sparse model at all."""

import torch
from torch import nn

from pruneofa.architectures.linears import encoder_linears, pooler_linears
from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.masks import weight_of
from pruneofa.sparsity.shards import whole

__all__ = ["SPARSE_FROM", "is_sparse", "pattern_of", "patterns", "refuse_to_unlock", "zero_share"]

SPARSE_FROM = 0.1
"""Share of zeros in the encoder's Linear layers from which a model counts as pruned. Rounding a dense model to int8
makes a few zeros in a hundred, and half precision some in a million."""


def pattern_of(model: nn.Module, name: str) -> torch.Tensor:
    """Which weights of the module `name` its pattern keeps: bool, in the weight's shape, on every rank whole.

    Weights that the module names in `kept_zeros` (row-major indices: rounding to int8 made zeros of them) are kept. A
    weight without any value but zero has no pattern: it is one that has not learned yet (an adapter's).
    """
    pattern = whole(weight_of(model, name)) != 0
    kept = getattr(model.get_submodule(name), "kept_zeros", None)
    if kept is not None:
        pattern.view(-1)[kept.to(pattern.device).long()] = True
    return pattern if bool(pattern.any()) else torch.ones_like(pattern)


def patterns(model: nn.Module) -> dict[str, torch.Tensor]:
    """Module name -> pattern, of every Linear of the encoder and the pooler that has a zero."""
    found = {name: pattern_of(model, name) for name in (*encoder_linears(model), *pooler_linears(model))}
    return {name: pattern for name, pattern in found.items() if not bool(pattern.all())}


def zero_share(model: nn.Module) -> float:
    """Share of zeros that belong to the pattern, over the encoder's Linear layers."""
    found = [pattern_of(model, name) for name in encoder_linears(model)]
    return sum(int((~pattern).sum()) for pattern in found) / sum(pattern.numel() for pattern in found)


def is_sparse(model: nn.Module) -> bool:
    """Whether `model` was pruned before: the one place where that is decided."""
    return zero_share(model) >= SPARSE_FROM


def refuse_to_unlock(model: nn.Module, stage: str, name: str, instead: str) -> None:
    """Refuse to train a sparse model where nothing holds its zeros.

    Args:
        model: to be trained.
        stage: that would.
        name: of the model, for the error.
        instead: what keeps the zeros.

    Raises:
        ConfigurationError: `model` is sparse.
    """
    if is_sparse(model):
        raise ConfigurationError(
            f"model {name!r} is sparse ({100 * zero_share(model):.1f} % zeros in the encoder), and {stage} would train "
            f"its zeros away: {instead}, or set {stage}.unlock (--unlock) to make it dense"
        )
