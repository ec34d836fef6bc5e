"""What a runtime is to its worker."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answers", "Runtime"]

Answers = Mapping[str, NDArray[np.floating[Any]]]
"""Outputs by the names that ONNX files have: `logits`; `start_logits`, `end_logits`; or `last_hidden_state`."""


class Runtime(Protocol):
    """A loaded model.

    A runtime's module has the class `Model`, which takes path, threads and the form's settings, and the function
    `import_libraries`, which takes the settings: what that imports counts neither as time to load nor as memory.
    """

    @property
    def facts(self) -> dict[str, Any]:
        """Version and what else decides the figures."""

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> Answers:
        """Compute a batch."""
