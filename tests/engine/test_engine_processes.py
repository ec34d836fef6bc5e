"""The engine in other people's processes: pickled, in spawned and forked workers, interrupted."""

import copy
import multiprocessing
import os
import pickle
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from engine_models import Recipe, token_ids, write_model

from pruneofa.engine.engine import Engine
from pruneofa.errors import CheckpointError

BATCH = token_ids(1, 7, 70)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("processes") / "model", Recipe())


def logits(engine):
    return engine.run(BATCH).logits


def test_a_pickled_engine_answers_the_same(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    engine = Engine.load(folder.name, threads=2, kernel="portable")
    data = pickle.dumps(engine)
    monkeypatch.chdir("/")
    for found in (pickle.loads(data), copy.deepcopy(engine)):
        assert (found.threads, found.kernel) == (2, "portable")
        np.testing.assert_array_equal(logits(found), logits(engine))


def test_a_default_of_threads_is_the_workers_own(folder, monkeypatch):
    data = pickle.dumps(Engine.load(folder))
    monkeypatch.setenv("PRUNEOFA_NUM_THREADS", "3")
    assert pickle.loads(data).threads == 3


def test_an_engine_whose_file_is_gone_says_so_when_it_is_unpickled(folder, tmp_path):
    moved = tmp_path / "model"
    moved.symlink_to(folder)
    data = pickle.dumps(Engine.load(moved))
    moved.unlink()
    with pytest.raises(CheckpointError, match="model"):
        pickle.loads(data)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_pool_of_processes_answers_the_same(folder, method):
    engine = Engine.load(folder, threads=2)
    expected = logits(engine)
    with multiprocessing.get_context(method).Pool(2) as pool:
        for found in pool.map(engine.run, [BATCH] * 4):
            np.testing.assert_array_equal(found.logits, expected)


def test_a_fork_during_calls_of_other_threads_answers_with_all_its_threads(folder):
    engine = Engine.load(folder, threads=3)
    expected = logits(engine)
    ending = threading.Event()

    def call():
        while not ending.is_set():
            logits(engine)

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                same = np.array_equal(logits(engine), expected)
                # Of the parent's threads this one alone is here, and two helpers join it.
                os._exit(0 if same and len(list(Path("/proc/self/task").iterdir())) == 3 else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        ending.set()
        for caller in callers:
            caller.join()


def test_an_interrupt_ends_a_long_call(folder):
    engine = Engine.load(folder, threads=1, kernel="portable")
    rows = np.repeat(token_ids(2, 1, 500), 20_000, axis=0)  # a minute and more
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.run(rows, logits=True)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert np.isfinite(logits(engine)).all()
