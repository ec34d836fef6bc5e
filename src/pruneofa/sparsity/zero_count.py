"""What a transfer without the lock looks like: nothing holds the zeros, they are only counted."""

from torch import nn

from pruneofa.architectures.linears import encoder_linears, pooler_linears
from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.lock import PatternLock
from pruneofa.sparsity.masks import MaskSet, unwrap, weight_of


class ZeroCount(PatternLock):
    """Stands where a lock would and locks nothing; its sparsity is the share of zeros that are left (an ablation).

    Args:
        model: a sparse model; every Linear of its encoder and pooler that has a zero is counted.

    Raises:
        ConfigurationError: the model has no zero.
    """

    def __init__(self, model: nn.Module) -> None:
        inner = unwrap(model)
        super().__init__(inner, MaskSet(inner, {}))
        names = [*encoder_linears(inner), *pooler_linears(inner)]
        self._names = [name for name in names if bool((weight_of(inner, name) == 0).any())]
        if not self._names:
            raise ConfigurationError(
                "transfer: no Linear layer of the encoder has a zero weight to count; give it a pruned model"
            )

    @property
    def sparsity(self) -> float:
        """Share of zeros that are left, over the modules that had one."""
        weights = [weight_of(self.model, name) for name in self._names]
        return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)
