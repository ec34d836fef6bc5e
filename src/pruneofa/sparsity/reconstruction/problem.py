"""The problem that pruning one layer solves: least squares with a limited number of weights."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pruneofa.errors import ConfigurationError


@dataclass(frozen=True)
class LayerProblem:
    """Find a sparse W with small `||Y - X W^T - b||^2`, where Y is what the layer should give for the inputs X.

    All float64. Where the layer has a bias, the moments are about the means, and b follows from W.

    Attributes:
        weight: the dense weight, `[outputs, inputs]`.
        hessian: `X^T X`, `[inputs, inputs]`; half of the true second derivative, as in SparseGPT (section 3.1).
        cross: `X^T Y`, `[inputs, outputs]`.
        energy: `||Y||^2` of each output, `[outputs]`.
        tokens: rows of X.
        input_mean, target_mean: means of X and Y; zeros for a layer without bias.
    """

    weight: Tensor
    hessian: Tensor
    cross: Tensor
    energy: Tensor
    tokens: int
    input_mean: Tensor
    target_mean: Tensor

    @property
    def full_rank(self) -> bool:
        """Whether there are more tokens than inputs, without which `X^T X` can't have full rank."""
        return self.tokens > len(self.hessian)

    def damping(self, share: float) -> float:
        """`share` of the mean of the Hessian's diagonal, to be added to that (SparseGPT, section 3.2)."""
        mean = float(self.hessian.diagonal().mean())
        return share * mean if mean > 0.0 else max(share, 1e-12)

    def damped(self, share: float) -> Tensor:
        """The Hessian with `damping(share)` on its diagonal."""
        return self.hessian + self.damping(share) * torch.eye(len(self.hessian), dtype=self.hessian.dtype)

    def error(self, weight: Tensor) -> float:
        """`||Y - X W^T - b||^2` for a weight with its best bias."""
        weight = weight.double()
        explained = ((weight @ self.hessian) * weight).sum() - 2.0 * (weight * self.cross.T).sum()
        return max(0.0, float(self.energy.sum() + explained))

    def relative_error(self, weight: Tensor) -> float:
        """`error` over `||Y||^2`, about the mean where there is a bias; 0 where Y is constant."""
        total = float(self.energy.sum())
        return self.error(weight) / total if total > 0.0 else 0.0

    def bias(self, weight: Tensor) -> Tensor:
        """The best bias for a weight, `[outputs]`."""
        return self.target_mean - weight.double() @ self.input_mean

    def dense_optimum(self, damping: float) -> Tensor:
        """The best weight without zeros, `[outputs, inputs]`; damping pulls it to the dense weight.

        It differs from the dense weight where the inputs come from layers that are pruned already. The error of any W
        is its own plus `(W - optimum) H (W - optimum)^T`, which is the form that OBS needs.
        """
        residual = self.cross - self.hessian @ self.weight.T
        return self.weight + torch.cholesky_solve(residual, cholesky(self.damped(damping))).T


def cholesky(matrix: Tensor) -> Tensor:
    """The lower Cholesky factor of a damped Hessian.

    Raises:
        ConfigurationError: it is not positive definite.
    """
    factor: Tensor
    factor, fault = torch.linalg.cholesky_ex(matrix)
    if bool((fault != 0).any()):
        raise ConfigurationError("the damped Hessian is not positive definite; raise `damping`, or give more texts")
    return factor
