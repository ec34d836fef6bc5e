"""Which weights of a layer stay: by ADMM on the normalised Hessian."""

import torch
from torch import Tensor

from pruneofa.sparsity.reconstruction.obs import check_count
from pruneofa.sparsity.reconstruction.problem import LayerProblem, cholesky
from pruneofa.sparsity.schedule import cubic_sparsity
from pruneofa.sparsity.selection import keep_largest


def admm_mask(
    problem: LayerProblem, count: int, *, iterations: int = 60, damping: float = 0.01, penalty: float = 1.0
) -> Tensor:
    """The mask on which ADMM settles (Boza 2024, "Fast and Effective Weight Update for Pruned LLMs", algorithms 1, 2).

    Columns are scaled to unit norm of their inputs, so that a weight's magnitude is its saliency. An iteration takes
    the least-squares weights near the sparse ones, adds the running sum U of what was cut, and keeps the largest; the
    number that goes rises by the cubic schedule over the first three quarters of the iterations.

    Args:
        problem: of the layer.
        count: how many weights go in the end.
        iterations: of ADMM.
        damping: share of the normalised Hessian's mean diagonal, added to that.
        penalty: rho, the weight of the distance from the sparse weights, beside a Hessian with a diagonal of 1.

    Returns:
        True where a weight stays, `[outputs, inputs]`; exactly `count` are False.

    Raises:
        ConfigurationError: `count` is out of range, or the damped Hessian is not positive definite.
    """
    check_count(count, problem.weight)
    norm = problem.hessian.diagonal().clamp(min=0.0).sqrt()
    norm = norm.clamp(min=1e-8 * max(float(norm.max()), 1e-30))
    unit = torch.eye(len(norm), dtype=norm.dtype)
    hessian = problem.hessian / torch.outer(norm, norm)
    hessian = hessian + damping * hessian.diagonal().mean().clamp(min=1e-12) * unit
    optimum = (
        torch.cholesky_solve((problem.cross - problem.hessian @ problem.weight.T) / norm[:, None], cholesky(hessian))
        + (problem.weight * norm).T
    )
    inverse = torch.cholesky_inverse(cholesky(hessian + penalty * unit))
    # (H + rho)^-1 (H w + rho (z - u)) = w + rho (H + rho)^-1 (z - u - w); float32 is enough for a selection.
    pull, start = (penalty * inverse).float(), optimum.float()
    weight, sums = start, torch.zeros_like(start)
    mask = torch.ones_like(start, dtype=torch.bool)
    ramp = max(1, iterations * 3 // 4)
    for step in range(1, iterations + 1):
        share = cubic_sparsity(step, initial=0.0, target=1.0, begin_step=0, end_step=ramp)
        [mask] = keep_largest([(weight + sums).abs()], count if share >= 1.0 else int(share * count))
        sparse = torch.where(mask, weight + sums, 0.0)
        sums = sums + weight - sparse
        weight = start + pull @ (sparse - sums - start)
    if iterations < 1:
        [mask] = keep_largest([start.abs()], count)
    return mask.T.contiguous()
