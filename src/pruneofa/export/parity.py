"""How far an exported graph is from the PyTorch model: the largest error over lengths, batches and padding."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pruneofa.export.heads import Exportable

__all__ = ["BATCHES", "LENGTHS", "Parity", "measure_parity", "parity_batches"]

LENGTHS = (1, 2, 7, 16, 33, 128)
"""Tokens of the batches that are compared, besides the longest that the model takes."""

BATCHES = (1, 3)
"""Texts of a batch."""

_FLOAT_LIMIT, _INT8_LIMIT = 1e-3, 0.1


@dataclass(frozen=True)
class Parity:
    """What was compared and what came out.

    Attributes:
        max_error: Largest absolute difference of any output, padding included.
        largest: Largest absolute value of PyTorch's outputs.
        batches: Number of batches.
        longest: Tokens of the longest.
    """

    max_error: float
    largest: float
    batches: int
    longest: int

    def fits(self, *, int8: bool) -> bool:
        """Whether the error is of the size that rounding explains: 0.001 of the largest value in float; in int8, where
        a level next to a tie may differ and go on through the layers, 0.1. What is wrong in a graph is far above.
        """
        limit = _INT8_LIMIT if int8 else _FLOAT_LIMIT
        return self.max_error <= limit * max(1.0, self.largest)


@torch.no_grad()
def measure_parity(
    reference: Exportable,
    candidate: Callable[..., Mapping[str, Tensor]],
    longest: int | None,
    vocabulary: int,
    pad: int,
) -> Parity:
    """Compare two implementations on random tokens.

    Args:
        reference: The PyTorch model, in eval mode; an int8 one fake-quantized.
        candidate: Takes the inputs by name and gives the outputs by name.
        longest: Most tokens that the model takes; None where it has no limit.
        vocabulary: Number of tokens.
        pad: The padding token.
    """
    error = largest = 0.0
    count = most = 0
    for inputs in parity_batches(reference.input_names, longest, vocabulary, pad):
        expected, found = reference(**inputs), candidate(**inputs)
        for name, value in zip(reference.output_names, expected, strict=True):
            difference = float((found[name] - value).abs().max())
            error = max(error, math.inf if math.isnan(difference) else difference)
            largest = max(largest, float(value.abs().max()))
        count, most = count + 1, max(most, inputs["input_ids"].shape[1])
    return Parity(error, largest, count, most)


def parity_batches(
    input_names: tuple[str, ...], longest: int | None, vocabulary: int, pad: int, seed: int = 0
) -> Iterator[dict[str, Tensor]]:
    """Batches of every length and size: the first text fills the length, the next are padded to it, the last the most.

    Args:
        input_names: As of `Exportable`.
        longest: Most tokens that the model takes.
        vocabulary: Number of tokens.
        pad: The padding token, which stands in no text.
        seed: Of the tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    lengths = sorted({length for length in (*LENGTHS, longest or 1) if longest is None or length <= longest})
    for length in lengths:
        for batch in BATCHES:
            # Numbers other than the padding token's: shift those from it on by one.
            ids = torch.randint(vocabulary - 1, (batch, length), generator=generator)
            ids += (ids >= pad).long()
            kept = torch.tensor([max(1, length * (batch - i) // batch) for i in range(batch)])
            mask = (torch.arange(length) < kept[:, None]).long()
            inputs = {"input_ids": torch.where(mask == 1, ids, pad), "attention_mask": mask}
            if "token_type_ids" in input_names:
                inputs["token_type_ids"] = (torch.arange(length) >= kept[:, None] // 2).long() * mask
            yield inputs
