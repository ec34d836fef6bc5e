"""Optimal Brain Surgeon for a layer: remove weights in the order of the columns, let the rest make up for them."""

import torch
from torch import Tensor

from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.reconstruction.problem import LayerProblem, cholesky
from pruneofa.sparsity.selection import keep_largest

_BLOCK = 128
"""Columns whose masks are selected together (SparseGPT, section 3.3)."""


def remove_one(weight: Tensor, inverse: Tensor, index: int) -> Tensor:
    """One row's weights without the one at `index`, the others moved so that the error grows least.

    `w - w_q / [H^-1]_qq * H^-1[:, q]`, which costs `w_q^2 / [H^-1]_qq` (Hassibi & Stork 1993, equation 5, for
    `||Y - X w||^2`).

    Args:
        weight: the row at its optimum, `[inputs]`.
        inverse: inverse of the Hessian `X^T X`, `[inputs, inputs]`.
        index: what goes.
    """
    removed = weight - weight[index] / inverse[index, index] * inverse[:, index]
    removed[index] = 0.0
    return removed


def prune_by_obs(
    problem: LayerProblem, count: int, damping: float, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Prune column by column, each error passed on to the columns right of it (SparseGPT, algorithm 1).

    Args:
        problem: of the layer.
        count: how many weights go; the error of `w^2 / [U_jj]^2` selects them, in each block of 128 columns its share.
        damping: share of the Hessian's mean diagonal that is added to it.
        mask: True where a weight stays, `[outputs, inputs]`; given, nothing is selected.

    Returns:
        Weight and mask, `[outputs, inputs]`; pruned weights are +0.0.

    Raises:
        ConfigurationError: `count` is out of range, or the damped Hessian is not positive definite.
    """
    weight = problem.dense_optimum(damping)
    check_count(count, weight)
    columns = weight.shape[1]
    # H^-1 = U^T U; row j of U is that of the inverse without the first j columns, scaled (SparseGPT, section 3.2).
    upper = cholesky(torch.cholesky_inverse(cholesky(problem.damped(damping)))).T.contiguous()
    masks = torch.ones_like(weight, dtype=torch.bool) if mask is None else mask.clone()
    for start in range(0, columns, _BLOCK):
        end = min(columns, start + _BLOCK)
        block, inner = weight[:, start:end], upper[start:end, start:end]
        if mask is None:
            wanted = count * end // columns - count * start // columns
            saliency = (block / inner.diagonal()).square()
            [masks[:, start:end]] = keep_largest([saliency], wanted)
        errors = torch.zeros_like(block)
        for column in range(end - start):
            dropped = torch.where(masks[:, start + column], 0.0, block[:, column])
            errors[:, column] = dropped / inner[column, column]
            block[:, column:] -= torch.outer(errors[:, column], inner[column, column:])
        weight[:, end:] -= errors @ upper[start:end, end:]
    return torch.where(masks, weight, 0.0), masks


def check_count(count: int, weight: Tensor) -> None:
    """Raise if so many weights can't go."""
    if not 0 <= count <= weight.numel():
        raise ConfigurationError(f"{count} weights are to go; allowed: 0 to {weight.numel()}, the layer's weights")
