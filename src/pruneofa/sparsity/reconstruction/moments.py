"""What layer-wise reconstruction needs of a layer's data: sums over tokens, of bounded size however many there are."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pruneofa.errors import DataError
from pruneofa.sparsity.reconstruction.problem import LayerProblem

_CHUNK = 4096
"""Tokens in one matrix product; the sum of products is in float64."""


class InputMoments:
    """Sums over tokens of the products of inputs with themselves and with the targets of the layers that read them.

    Layers that read the same input (query, key and value) share one `X^T X`.

    Args:
        inputs: width of the input.
        targets: name of a layer -> width of its output.
    """

    def __init__(self, inputs: int, targets: Mapping[str, int]) -> None:
        self.tokens = 0
        # Taken off every input, and added again in `problem`: products in float32 of inputs far from zero lose digits.
        self._shift: Tensor | None = None
        self._sum = torch.zeros(inputs, dtype=torch.float64)
        self._square = torch.zeros(inputs, inputs, dtype=torch.float64)
        self._cross = {name: torch.zeros(inputs, width, dtype=torch.float64) for name, width in targets.items()}
        self._target_sum = {name: torch.zeros(width, dtype=torch.float64) for name, width in targets.items()}
        self._target_square = {name: torch.zeros(width, dtype=torch.float64) for name, width in targets.items()}

    def add(self, inputs: Tensor, targets: Mapping[str, Tensor]) -> None:
        """Count tokens in.

        Args:
            inputs: `[tokens, inputs]`, without padding.
            targets: for each layer what it should give, `[tokens, outputs]`.
        """
        if not len(inputs):
            return
        shift = self._shift = inputs.mean(0) if self._shift is None else self._shift
        for start in range(0, len(inputs), _CHUNK):
            part = inputs[start : start + _CHUNK] - shift
            self.tokens += len(part)
            self._sum += part.sum(0, dtype=torch.float64).cpu()
            self._square += (part.T @ part).double().cpu()
            for name, target in targets.items():
                wanted = target[start : start + _CHUNK]
                self._cross[name] += (part.T @ wanted).double().cpu()
                self._target_sum[name] += wanted.sum(0, dtype=torch.float64).cpu()
                self._target_square[name] += wanted.double().square().sum(0).cpu()

    def problem(self, name: str, weight: Tensor, *, bias: bool) -> LayerProblem:
        """The least-squares problem of one layer.

        With a bias the moments are taken about the means: the best bias for any weight then follows from these.

        Args:
            name: of the layer.
            weight: its dense weight `[outputs, inputs]`.
            bias: whether the layer adds a bias, which is fitted too.

        Raises:
            DataError: no token was counted, or a sum is not finite.
        """
        if not self.tokens or self._shift is None:
            raise DataError(f"no token reached {name!r}; give some calibration texts")
        shift = self._shift.double().cpu()
        hessian, cross, energy = self._square, self._cross[name], self._target_square[name]
        target_sum = self._target_sum[name]
        if bias:
            means = shift + self._sum / self.tokens, target_sum / self.tokens
            hessian = hessian - torch.outer(self._sum, self._sum) / self.tokens
            cross = cross - torch.outer(self._sum, means[1])
            energy = energy - means[1] * target_sum
        else:
            means = torch.zeros_like(shift), torch.zeros_like(target_sum)
            mixed = torch.outer(shift, self._sum)
            hessian = hessian + mixed + mixed.T + self.tokens * torch.outer(shift, shift)
            cross = cross + torch.outer(shift, target_sum)
        if not (hessian.isfinite().all() and cross.isfinite().all()):
            raise DataError(f"the inputs or outputs of {name!r} are not finite; check the model's weights")
        return LayerProblem(weight.double().cpu(), hessian, cross, energy.clamp(min=0.0), self.tokens, *means)
