"""A worker as the measuring process sees it: started with its threads fixed, asked, and ended for certain."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pruneofa.benchmarking.contestants import Form
from pruneofa.benchmarking.inputs import Inputs
from pruneofa.errors import EngineError

__all__ = ["WorkerError", "WorkerProcess"]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_LAST_WORDS = 2000


class WorkerError(EngineError):
    """A runtime failed at loading or computing a model, or its process ended."""


class WorkerProcess:
    """One form of a model, loaded in a process of its own.

    Args:
        form: What to load.
        threads: Cores that it may use.

    Attributes:
        load_seconds: Time to load, without importing the libraries.
        facts: What the runtime says of itself.

    Raises:
        WorkerError: It can't be loaded.
    """

    def __init__(self, form: Form, threads: int) -> None:
        self.form, self.threads = form, threads
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        ours, theirs = socket.socketpair()
        environment = {
            **os.environ,
            **dict.fromkeys(_THREAD_VARIABLES, str(threads)),
            "TOKENIZERS_PARALLELISM": "false",
        }
        command = [sys.executable, "-m", "pruneofa.benchmarking.worker", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # an interrupt is for the one that measures; it ends this process
            )
        self._requests = Connection(ours.detach())
        try:
            loaded = self._ask("load", form.runtime, form.path, threads, dict(form.settings))
        except BaseException:
            self.close()
            raise
        self.load_seconds = float(loaded["seconds"])
        self.facts: dict[str, Any] = loaded["facts"]

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def prepare(self, inputs: Sequence[Inputs]) -> None:
        """Give it the inputs that `run` and `answer` number."""
        self._ask("prepare", list(inputs))

    def run(self, indices: Sequence[int]) -> list[float]:
        """Seconds that computing each of some inputs takes, one after the other."""
        return [float(seconds) for seconds in self._ask("run", list(indices))]

    def answer(self, index: int) -> dict[str, NDArray[np.float32]]:
        """What comes out for an input."""
        found: dict[str, NDArray[np.float32]] = self._ask("answer", index)
        return found

    def memory(self) -> int:
        """Bytes that the model takes: by how much the process has grown."""
        return int(self._ask("memory"))

    def close(self) -> None:
        """End the process."""
        self._requests.close()
        try:
            self._process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _ask(self, request: str, *arguments: Any) -> Any:
        try:
            self._requests.send((request, arguments))
            done, found = self._requests.recv()
        except (EOFError, OSError) as error:
            raise WorkerError(f"{self._name}: its process ended{self._last_words()}") from error
        if not done:
            raise WorkerError(f"{self._name}: {found}")
        return found

    def _last_words(self) -> str:
        """How the process ended, and the last line that it wrote."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return ""
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, self._said.tell() - _LAST_WORDS))
        lines = self._said.read().decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return f" with code {code} ({last:.300})"

    @property
    def _name(self) -> str:
        return f"{self.form.runtime} ({self.form.name})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
