"""The process in which one form of a model lives: `python -m pruneofa.benchmarking.worker FD`.

It answers requests from the process that started it over a socket, one at a time: `load`, `prepare`, `run`, `answer`,
`memory`. The clock runs around the runtime's own call, here, so that the way to and from this process costs nothing.
"""

import gc
import importlib
import os
import sys
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.benchmarking.inputs import Inputs
from pruneofa.benchmarking.runtimes.base import Runtime

__all__ = ["main", "resident_bytes"]


class _Worker:
    """What the requests act on."""

    def __init__(self) -> None:
        self._model: Runtime | None = None
        self._inputs: list[Inputs] = []
        self._before = 0

    def load(self, runtime: str, path: str, threads: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Load a model; its libraries are imported before the clock starts and memory is counted."""
        module = importlib.import_module(f"pruneofa.benchmarking.runtimes.{runtime}")
        module.import_libraries(**settings)
        self._before = resident_bytes()
        started = time.perf_counter()
        self._model = module.Model(path, threads, **settings)
        seconds = time.perf_counter() - started
        gc.collect()
        gc.disable()  # a collection in the middle of a call would be charged to it
        return {"seconds": seconds, "facts": dict(self._model.facts)}

    def prepare(self, inputs: list[Inputs]) -> None:
        """Keep the inputs that later requests number, and compute the first, so that what is lazy is done."""
        self._inputs = inputs
        self.run([0])

    def run(self, indices: list[int]) -> list[float]:
        """Seconds that each of the calls took, one after the other."""
        assert self._model is not None
        seconds = []
        for index in indices:
            inputs = self._inputs[index]
            started = time.perf_counter()
            self._model.run(inputs)
            seconds.append(time.perf_counter() - started)
        return seconds

    def answer(self, index: int) -> dict[str, NDArray[np.float32]]:
        """What comes out for an input, as float32."""
        assert self._model is not None
        found = self._model.run(self._inputs[index])
        return {name: np.array(values, dtype=np.float32) for name, values in found.items()}

    def memory(self) -> int:
        """Bytes by which this process has grown since before the model was loaded."""
        return max(0, resident_bytes() - self._before)


def resident_bytes() -> int:
    """Memory that this process holds; where the system does not tell, the most that it ever held."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  # as it is read it is
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(descriptor: int) -> None:
    """Answer requests until the other side closes the socket."""
    worker = _Worker()
    with Connection(descriptor) as requests:
        while True:
            try:
                name, arguments = requests.recv()
            except EOFError:
                return
            try:
                requests.send((True, getattr(worker, name)(*arguments)))
            except Exception as error:  # whatever a runtime raises is told to the one who asked
                text = " ".join(str(error).split()) or type(error).__name__
                requests.send((False, f"{type(error).__name__}: {text:.400}"))


if __name__ == "__main__":
    main(int(sys.argv[1]))
