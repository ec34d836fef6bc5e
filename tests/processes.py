"""Run a function on several ranks: processes joined over gloo on this machine, none of which outlives its test."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

# Imported once, by the server that the ranks are forked from.
_PRELOAD = ["torch", "torch.distributed.fsdp", "torch.distributed.checkpoint.state_dict", "transformers.trainer"]


def run_ranks(function: Callable[..., Any], ranks: int, folder: Path, *arguments: Any, seconds: float = 240) -> Any:
    """What `function(rank, *arguments)` returned, by rank.

    The processes meet in a file, so no port can be taken. When one fails or time is up, all are killed.
    """
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("torch was built without gloo, so there is nothing to join processes with")
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    processes = [
        context.Process(target=_work, args=(rank, ranks, folder, function, arguments), daemon=True)
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    deadline = time.monotonic() + seconds
    try:
        while any(process.is_alive() for process in processes):
            late = time.monotonic() > deadline
            if late or any(process.exitcode for process in processes):
                break
            time.sleep(0.02)
    finally:
        time.sleep(0.2 if any(process.exitcode for process in processes) else 0.0)  # let the others tell their part
        for process in processes:
            process.kill()
            process.join()
    errors = [path.read_text() for path in sorted(folder.glob("*.error"))]
    codes = [process.exitcode for process in processes]
    assert not any(codes), f"exit codes {codes} (-9: killed here, as another failed or after {seconds} s)" + "\n".join(
        ["", *errors]
    )
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(ranks)]


def _work(rank: int, ranks: int, folder: Path, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    # What torchrun says too; the address is never used.
    told = {"RANK": rank, "WORLD_SIZE": ranks, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": ranks, "MASTER_PORT": 1}
    os.environ.update({name: str(value) for name, value in told.items()}, MASTER_ADDR="localhost")
    try:
        torch.set_num_threads(1)
        torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=ranks)
        torch.save(function(rank, *arguments), folder / f"{rank}.pt")
        torch.distributed.destroy_process_group()
    except BaseException:
        (folder / f"{rank}.error").write_text(f"rank {rank}: {traceback.format_exc()}")
        raise


def torchrun(ranks: int, *arguments: object, restarts: int = 0, seconds: float = 300) -> tuple[int, str, str]:
    """Exit code, standard output and error of `torchrun ARGUMENTS` on this machine, on a port that it finds itself."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path)), "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        [*launcher, f"--max-restarts={restarts}", *map(str, arguments)],
        env={**environment, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # whatever is left of it
    return process.returncode, out, err
