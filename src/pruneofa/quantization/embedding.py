"""The embedding table of quantization-aware training."""

from typing import cast

from torch import Tensor, nn

from pruneofa.quantization.grid import WeightGrid
from pruneofa.quantization.weights import WeightQuantizer, fake_quantize_weight

__all__ = ["QATEmbedding"]


class QATEmbedding(nn.Embedding):
    """An embedding whose table is fake-quantized, symmetric, with one scale per row or for all.

    Made of an existing Embedding by `adopt`, which keeps the module object, its hooks and its Parameter. Only the rows
    that are looked up are rounded: a vocabulary is far larger than a batch.

    Attributes:
        quantizes_weight: Whether the table is fake-quantized now.
    """

    weight_quantizer: WeightQuantizer
    quantizes_weight: bool

    @classmethod
    def adopt(cls, embedding: nn.Embedding, grid: WeightGrid) -> "QATEmbedding":
        """Turn `embedding` itself into a QATEmbedding and return it."""
        embedding.__class__ = cls
        adopted = cast(QATEmbedding, embedding)
        adopted.quantizes_weight = True
        adopted.weight_quantizer = WeightQuantizer(grid)
        adopted.train(embedding.training)
        return adopted

    def release(self) -> nn.Embedding:
        """Turn this module back into a plain `nn.Embedding` and return it."""
        delattr(self, "quantizes_weight")
        delattr(self, "weight_quantizer")
        self.__class__ = nn.Embedding  # type: ignore[assignment]
        return self

    def forward(self, input: Tensor) -> Tensor:
        """[...] of row numbers -> [..., embedding_dim]."""
        rows = super().forward(input)
        if not self.quantizes_weight:
            return rows
        flat = rows.reshape(-1, self.embedding_dim)
        quantized = fake_quantize_weight(flat, self._scale_of(flat, input), self.weight_quantizer.grid)
        return quantized.reshape(rows.shape).to(rows.dtype)

    def _scale_of(self, rows: Tensor, input: Tensor) -> Tensor:
        """Scales of the rows that were looked up: [n], or [1] for the table."""
        quantizer = self.weight_quantizer
        if not quantizer.grid.per_row:
            return quantizer.scale_of(self.weight)
        if quantizer.scale is None:
            return quantizer.scale_of(rows)
        return quantizer.scale[input.reshape(-1)]
