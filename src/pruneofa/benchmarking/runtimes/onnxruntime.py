"""ONNX Runtime on the CPU."""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.benchmarking.runtimes.base import Answers

__all__ = ["Model", "import_libraries"]


def import_libraries(**settings: Any) -> None:
    """Import ONNX Runtime."""
    importlib.import_module("onnxruntime")


class Model:
    """An ONNX file in ONNX Runtime, all graph optimizations on.

    Args:
        path: Of it.
        threads: For one operator; operators run one after another.
    """

    def __init__(self, path: str, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        # Its threads spin within a call, as by default, but not into the next contestant's.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._outputs = [value.name for value in self._session.get_outputs()]
        self.facts: dict[str, Any] = {"version": onnxruntime.__version__}

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> Answers:
        """Compute a batch."""
        found = self._session.run(None, {name: inputs[name] for name in self._inputs})
        return dict(zip(self._outputs, found, strict=True))
