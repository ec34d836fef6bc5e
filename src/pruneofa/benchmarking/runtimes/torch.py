"""PyTorch, eager: what a model of transformers does by itself."""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.benchmarking.runtimes.base import Answers

__all__ = ["Model", "import_libraries"]


def import_libraries(architecture: str, **settings: Any) -> None:
    """Import PyTorch, and of transformers what the model needs; it imports that by name."""
    getattr(importlib.import_module("transformers"), architecture)


class Model:
    """A model folder in transformers.

    Args:
        path: Of it.
        threads: For one operator.
        architecture: Name of the class of transformers.
        outputs: Names of what to give back.
        dtype: "float32" or "bfloat16".
    """

    def __init__(self, path: str, threads: int, architecture: str, outputs: list[str], dtype: str) -> None:
        import torch
        import transformers

        torch.set_num_threads(threads)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self._torch, self._outputs = torch, outputs
        self._model = getattr(transformers, architecture).from_pretrained(path, dtype=getattr(torch, dtype)).eval()
        self._inputs = set(inspect.signature(self._model.forward).parameters)
        self.facts: dict[str, Any] = {"version": torch.__version__, "precision": dtype}

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> Answers:
        """Compute a batch."""
        torch = self._torch
        with torch.inference_mode():
            found = self._model(**{name: torch.from_numpy(inputs[name]) for name in inputs if name in self._inputs})
            return {name: found[name].float().numpy() for name in self._outputs}
