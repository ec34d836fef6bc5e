"""Which modules of a model are pruned."""

from collections.abc import Sequence

import torch
from torch import nn

from pruneofa.architectures.linears import encoder_linears, pooler_linears
from pruneofa.architectures.matching import match_modules
from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.budget import prune_count
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.sparsity.masks import weight_of
from pruneofa.sparsity.zeros import is_sparse, pattern_of


def target_modules(model: nn.Module, config: SparsityConfig) -> list[str]:
    """Names of the Linear modules that `config` prunes, in the model's order.

    By default every Linear inside the transformer layers, and the pooler's if `prune_pooler` is set; with `targets`
    those Linear modules of the whole model that a pattern matches. `ignore` takes away from either.

    Raises:
        ConfigurationError: a pattern matches no Linear module, nothing is left, or a weight is shared with another
            module or computed.
    """
    if config.targets is not None:
        linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        candidates = match_modules(linears, config.targets, config.ignore)
    else:
        candidates = list(encoder_linears(model))
        if config.prune_pooler:
            candidates += list(pooler_linears(model))
        if config.ignore:
            candidates = match_modules(candidates, ["*"], config.ignore)
    _refuse_tied(model, candidates)
    return candidates


def starting_masks(model: nn.Module, names: Sequence[str], config: SparsityConfig) -> dict[str, torch.Tensor]:
    """The masks that pruning begins with: all True, or of a model that is sparse already its pattern.

    Raises:
        ConfigurationError: the model has more zeros than the target wants; they are never given back.
    """
    if not is_sparse(model):
        weights = {name: weight_of(model, name) for name in names}
        return {name: torch.ones(w.shape, dtype=torch.bool, device=w.device) for name, w in weights.items()}
    masks = {name: pattern_of(model, name) for name in names}
    groups = [list(masks)] if config.scope == "global" else [[name] for name in masks]
    for group in groups:
        zeros = sum(int((~masks[name]).sum()) for name in group)
        size = sum(masks[name].numel() for name in group)
        if zeros > prune_count(config.target_sparsity, size):
            where = f"{group[0]} alone has" if len(group) == 1 else "the model has"
            raise ConfigurationError(
                f"target_sparsity is {config.target_sparsity}, but this model is pruned already and {where} "
                f"{100 * zeros / size:.2f} % zeros, which are never given back; allowed: {zeros / size:.4f} or more. "
                "To train at the sparsity it has, use lock_pattern (pruneofa transfer)"
                + ("; scope: global counts over all modules together" if config.scope == "uniform" else "")
            )
    return masks


def _refuse_tied(model: nn.Module, names: list[str]) -> None:
    """A weight that several modules share can't be pruned for one of them alone."""
    users: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        weight = module._parameters.get("weight")  # its own, not that of the layer which an adapter stands beside
        if isinstance(weight, nn.Parameter):
            users.setdefault(id(weight), []).append(name)
    for name in names:
        shared = users[id(weight_of(model, name))]
        if len(shared) > 1:
            raise ConfigurationError(
                f"targets: the weight of {name!r} is shared with {', '.join(n for n in shared if n != name)}; "
                "pruning it would prune those too. Name it in `ignore`, or untie the weights"
            )
