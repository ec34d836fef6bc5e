"""The best weights on a given support: exact least squares, row by row."""

import torch
from torch import Tensor

from pruneofa.sparsity.reconstruction.problem import LayerProblem, cholesky

_BATCH_ENTRIES = 2**20
"""Matrix entries of the rows that are solved together: 8 MiB of float64, which caches hold."""


def least_squares(problem: LayerProblem, weight: Tensor, mask: Tensor, damping: float) -> Tensor:
    """Minimise `||Y - X W^T - b||^2 + damping * ||W - W_0||^2` over the weights that stay, each row by itself.

    The minimum of a row is `w_0 + (H_SS + damping)^-1 (X^T y - H w_0)_S` on its support S (normal equations). As the
    damping pulls to the weight that is given, not to zero, the layer's error never rises.

    Args:
        problem: of the layer.
        weight: W_0, `[outputs, inputs]`; what the mask drops of it counts as zero.
        mask: True where a weight stays.
        damping: share of the Hessian's mean diagonal.

    Returns:
        The weight, float64 `[outputs, inputs]`, +0.0 where the mask drops.

    Raises:
        ConfigurationError: a row's damped equations are not positive definite.
    """
    start = torch.where(mask, weight.double(), 0.0)
    residual = problem.cross.T - start @ problem.hessian
    hessian = problem.damped(damping)
    solved = start.clone()
    sizes = mask.sum(1)
    order = sizes.argsort().tolist()
    while order:
        # Rows with the largest supports first; those with nearly as many share a batch, padded with unit rows.
        size = int(sizes[order[-1]])
        if size == 0:
            break
        rows = order[-max(1, _BATCH_ENTRIES // size**2) :]
        del order[-len(rows) :]
        _solve_rows(rows, size, mask, hessian, residual, solved)
    return torch.where(mask, solved, 0.0)


def _solve_rows(rows: list[int], size: int, mask: Tensor, hessian: Tensor, residual: Tensor, solved: Tensor) -> None:
    """Add the solution of each of `rows` to `solved`; no support is larger than `size`."""
    kept = mask[rows]
    columns = (~kept).to(torch.int8).argsort(stable=True, dim=1)[:, :size]
    present = kept.gather(1, columns)
    both = present[:, :, None] & present[:, None, :]
    matrices = torch.where(both, hessian[columns[:, :, None], columns[:, None, :]], 0.0)
    matrices.diagonal(dim1=1, dim2=2)[~present] = 1.0
    right = torch.where(present, residual[rows].gather(1, columns), 0.0)
    steps = torch.cholesky_solve(right[:, :, None], cholesky(matrices))[:, :, 0]
    solved[rows] = solved[rows].scatter_add(1, columns, torch.where(present, steps, 0.0))
