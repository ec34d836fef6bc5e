"""This package's own engine."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.benchmarking.runtimes.base import Answers
from pruneofa.engine.engine import Engine
from pruneofa.engine.native import kernel_names

__all__ = ["Model", "import_libraries"]


def import_libraries(**settings: Any) -> None:
    """Nothing is left to import but the compiled part, which reading the kernels' names does."""
    kernel_names()


class Model:
    """A compressed file or model folder in the engine.

    Args:
        path: Of it.
        threads: Cores.
        kernel: Name of a kernel set; None for the best.
        every_token: Whether the last layer is computed for each token, also where the head reads the first one alone.
    """

    def __init__(self, path: str, threads: int, kernel: str | None = None, *, every_token: bool = False) -> None:
        self._engine = Engine.load(path, threads=threads, kernel=kernel)
        self._hidden_states = every_token or self._engine.task is None

    @property
    def facts(self) -> dict[str, Any]:
        """The kernels that compute, and the bytes of the packed weights."""
        return {"kernel": self._engine.kernel, "weight_bytes": self._engine.weight_bytes}

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> Answers:
        """Compute a batch."""
        output = self._engine.run(
            inputs["input_ids"],
            inputs["attention_mask"],
            inputs["token_type_ids"],
            hidden_states=self._hidden_states,
        )
        if output.logits is None:
            assert output.hidden_states is not None
            return {"last_hidden_state": output.hidden_states}
        if self._engine.task == "answer":
            return {"start_logits": output.logits[..., 0], "end_logits": output.logits[..., 1]}
        return {"logits": output.logits}
