"""Tasks over several processes, a bounded number at a time."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from pruneofa.errors import PruneofaError

__all__ = ["TaskRunner"]

Task = TypeVar("Task")
Result = TypeVar("Result")


class TaskRunner:
    """Runs tasks over processes, which start with the first need of them and end with the block; use it in `with`.

    Args:
        processes: how many work.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "TaskRunner":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield `function(task)` of each task in order; with one process, or one task, in this process.

        At most `processes` + 1 tasks are out at any moment, so the tasks may be a stream that is larger than the
        memory. An error of a task is raised here.

        Args:
            function: of a module's top level.
            tasks: may be pickled.

        Raises:
            PruneofaError: a process was killed.
        """
        stream = iter(tasks)
        beginning = list(itertools.islice(stream, 2 if self.processes > 1 else 0))
        if len(beginning) < 2:
            yield from map(function, itertools.chain(beginning, stream))
            return
        waiting: deque[Future[Result]] = deque()
        try:
            for task in itertools.chain(beginning, stream):
                waiting.append(self._started_pool().submit(function, task))
                if len(waiting) > self.processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise PruneofaError(
                "a worker process ended abruptly, most likely for want of memory; what is finished is kept: run the "
                "same command again, with fewer processes (--num_proc) or a smaller corpus.shard_characters"
            ) from error
        finally:
            for future in waiting:
                future.cancel()

    def _started_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
            self._pool = ProcessPoolExecutor(self.processes, context, _begin_worker)
        return self._pool


def _begin_worker() -> None:
    """Leave the keyboard to the parent, end with it, and use one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        with contextlib.suppress(OSError):
            wait([parent.sentinel])
        os._exit(1)
