"""Second-order saliency: the block-diagonal empirical Fisher matrix (oBERT; Kurtic et al. 2022, arXiv 2203.07259)."""

import torch
from torch import Tensor

from pruneofa.sparsity.saliency.seen import SeenWeight

BLOCK = 50
"""Weights in a block, in row-major order (oBERT, section 4)."""

DAMPING = 1e-7
"""lambda: added to the diagonal (oBERT, section 3.2)."""

_CHUNK = 4096
"""Blocks that are factored together."""


def outer_products(gradient: Tensor) -> Tensor:
    """`g g^T` of each block of a gradient, float32 `[blocks, BLOCK, BLOCK]`; the last block is filled with zeros."""
    blocks = in_blocks(gradient.float())
    return blocks[:, :, None] * blocks[:, None, :]


def in_blocks(values: Tensor) -> Tensor:
    """`values` in rows of `BLOCK`, `[blocks, BLOCK]`; the last is filled with zeros."""
    flat = values.reshape(-1)
    return torch.nn.functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)


def fisher_scores(seen: SeenWeight) -> Tensor:
    """`w_q^2 / (2 [F^-1]_qq)` for each weight (oBERT, section 3.1), what its removal alone costs; float64."""
    assert seen.fisher is not None
    weights = in_blocks(seen.weight.detach().double())
    scores = torch.empty_like(weights)
    for start in range(0, len(weights), _CHUNK):
        part = slice(start, start + _CHUNK)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(_damped(seen.fisher[part])))
        scores[part] = weights[part].square() / (2.0 * inverse.diagonal(dim1=1, dim2=2))
    return scores.view(-1)[: seen.weight.numel()].view(seen.weight.shape)


def fisher_update(seen: SeenWeight, mask: Tensor) -> Tensor:
    """The weight with what `mask` drops at +0.0 and the rest moved to where the loss grows least.

    Within a block, `-F^-1 E (E^T F^-1 E)^-1 E^T w` for all that go together (oBERT, section 3.1). For those that stay
    (K) that is `F_KK^-1 F_KQ w_Q`, which is what is solved.
    """
    assert seen.fisher is not None
    weights, kept = in_blocks(seen.weight.detach().double()), in_blocks(mask.double()).bool()
    updated = torch.empty_like(weights)
    for start in range(0, len(weights), _CHUNK):
        part = slice(start, start + _CHUNK)
        stays, fisher = kept[part], _damped(seen.fisher[part])
        dropped = torch.where(stays, 0.0, weights[part])
        right = torch.where(stays, (fisher @ dropped[:, :, None])[:, :, 0], 0.0)
        both = stays[:, :, None] & stays[:, None, :]
        matrices = torch.where(both, fisher, 0.0)
        matrices.diagonal(dim1=1, dim2=2)[~stays] = 1.0
        moves = torch.cholesky_solve(right[:, :, None], torch.linalg.cholesky(matrices))[:, :, 0]
        updated[part] = torch.where(stays, weights[part] + moves, 0.0)
    return updated.view(-1)[: seen.weight.numel()].view(seen.weight.shape).to(seen.weight.dtype)


def _damped(fisher: Tensor) -> Tensor:
    return fisher.double() + DAMPING * torch.eye(BLOCK, dtype=torch.float64, device=fisher.device)
