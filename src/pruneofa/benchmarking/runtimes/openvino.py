"""OpenVINO on the CPU."""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.benchmarking.runtimes.base import Answers

__all__ = ["Model", "import_libraries"]


def import_libraries(**settings: Any) -> None:
    """Import OpenVINO."""
    importlib.import_module("openvino")


class Model:
    """An ONNX file or OpenVINO's own form, compiled for latency.

    Args:
        path: Of it.
        threads: Cores of the one request that runs at a time.
        precision: What its float operators compute in ("f32", "bf16"); None: what it holds for best here.
    """

    def __init__(self, path: str, threads: int, precision: str | None = None) -> None:
        import openvino

        properties: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        if precision is not None:
            properties["INFERENCE_PRECISION_HINT"] = precision
        compiled = openvino.Core().compile_model(path, "CPU", properties)
        self._request = compiled.create_infer_request()
        self._inputs = [value.get_any_name() for value in compiled.inputs]
        self._outputs = [value.get_any_name() for value in compiled.outputs]
        computed = compiled.get_property("INFERENCE_PRECISION_HINT")
        self.facts: dict[str, Any] = {"version": openvino.__version__, "precision": computed.to_string()}

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> Answers:
        """Compute a batch."""
        found = self._request.infer({name: inputs[name] for name in self._inputs})
        return {name: found[name] for name in self._outputs}
