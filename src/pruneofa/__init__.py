"""Prune Once for All: sparse pre-trained language encoders.

The researcher's door; each name is imported when it is first used, so that `import pruneofa` stays fast and needs no
torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "PruneofaError": "pruneofa.errors",
    "ConfigurationError": "pruneofa.errors",
    "DataError": "pruneofa.errors",
    "CheckpointError": "pruneofa.errors",
    "EngineError": "pruneofa.errors",
    "SparsityConfig": "pruneofa.sparsity.config",
    "Pruner": "pruneofa.sparsity.pruner",
    "PatternLock": "pruneofa.sparsity.lock",
    "lock_pattern": "pruneofa.sparsity.lock",
    "DistillationConfig": "pruneofa.distillation.config",
    "Distiller": "pruneofa.distillation.distiller",
    "QuantizationConfig": "pruneofa.quantization.config",
    "prepare_qat": "pruneofa.quantization.qat",
    "calibrate": "pruneofa.quantization.calibration",
    "convert": "pruneofa.quantization.qat",
    "get_rewinding_schedule": "pruneofa.training.rewinding",
    "MaskedLanguageModeling": "pruneofa.training.objectives",
    "TaskLoss": "pruneofa.training.objectives",
    "SparseTrainer": "pruneofa.training.trainer.sparse_trainer",
    "Engine": "pruneofa.engine.engine",
    "save_compressed": "pruneofa.models.compressed",
    "load_compressed": "pruneofa.models.compressed",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pruneofa' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
