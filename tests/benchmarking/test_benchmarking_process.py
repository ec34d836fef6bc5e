"""Workers: what comes back, and what is told when they fail or die."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from pruneofa.benchmarking.contestants import Form
from pruneofa.benchmarking.inputs import Shape, make_inputs
from pruneofa.benchmarking.process import WorkerError, WorkerProcess
from pruneofa.engine.engine import Engine


@pytest.fixture
def worker(tiny_model):
    with WorkerProcess(Form("engine", "int8", str(tiny_model)), threads=1) as started:
        yield started


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_loads_times_and_answers(worker, tiny_model):
    inputs = make_inputs(Shape(2, 9), 3, 60, seed=0)
    worker.prepare(inputs)
    assert worker.load_seconds > 0
    assert worker.facts["weight_bytes"] > 0
    assert min(worker.run([2, 0])) > 0
    assert worker.memory() >= 0
    own = Engine.load(tiny_model, threads=1)
    assert worker.facts["kernel"] == own.kernel
    for number, batch in enumerate(inputs):
        expected = own.run(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"]).logits
        np.testing.assert_array_equal(worker.answer(number)["logits"], expected)


def test_a_failing_request_is_told_and_the_worker_lives_on(worker):
    inputs = make_inputs(Shape(1, 9), 1, 60, seed=0)
    broken = [{**inputs[0], "input_ids": inputs[0]["input_ids"] + 10_000}]
    with pytest.raises(WorkerError, match=r"engine \(int8\): DataError: .*"):
        worker.prepare(broken)
    worker.prepare(inputs)
    assert min(worker.run([0])) > 0


def test_a_model_that_is_not_there_is_told_and_leaves_no_process(tmp_path):
    with pytest.raises(WorkerError, match=r"engine \(int8\): CheckpointError: .*missing"):
        WorkerProcess(Form("engine", "int8", str(tmp_path / "missing.pofa")), threads=1)


def test_a_worker_that_dies_is_told(worker):
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match=r"engine \(int8\): its process ended with code -9 \(it said nothing\)"):
        worker.memory()


def test_closing_ends_the_process(tiny_model):
    started = WorkerProcess(Form("engine", "int8", str(tiny_model)), threads=1)
    assert alive(started.pid)
    started.close()
    assert not alive(started.pid)


def test_threads_are_fixed_for_the_whole_process(worker):
    entries = Path(f"/proc/{worker.pid}/environ").read_bytes().split(b"\0")
    variables = dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)
    assert variables[b"OMP_NUM_THREADS"] == b"1"


def test_quiet_sees_the_work_of_others_and_not_its_own():
    import subprocess
    import sys

    from pruneofa.benchmarking.quiet import Quiet

    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        stranger, owner = Quiet(), Quiet([busy.pid])
        time.sleep(0.6)
        seen, own = stranger.others(), owner.others()
    finally:
        busy.kill()
        busy.wait()
    assert seen is not None and own is not None
    assert seen > own
