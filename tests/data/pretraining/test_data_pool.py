import os
import signal

import pytest

from pruneofa.data.pretraining.building.pool import TaskRunner
from pruneofa.errors import DataError, PruneofaError


def square(number):
    return number * number


def process_of(number):
    return os.getpid()


def faulty(number):
    if number == 5:
        raise DataError("five is wrong")
    return number


def killed(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_results_are_in_order_and_errors_are_passed_on():
    with TaskRunner(2) as runner:
        assert list(runner.run(square, range(20))) == [number * number for number in range(20)]
        pids = set(runner.run(process_of, range(20)))
        assert os.getpid() not in pids and len(pids) <= 2
        read = []
        results = runner.run(square, (read.append(number) or number for number in range(100)))
        assert next(results) == 0 and len(read) == 3
        results.close()
        with pytest.raises(DataError, match="five is wrong"):
            list(runner.run(faulty, range(20)))
        with pytest.raises(PruneofaError, match=r"a worker process ended abruptly, .*fewer processes \(--num_proc\)"):
            list(runner.run(killed, range(20)))


def test_one_process_or_one_task_need_no_other_process():
    for processes, tasks in ((1, range(5)), (4, range(1)), (4, range(0))):
        with TaskRunner(processes) as runner:
            assert set(runner.run(process_of, tasks)) <= {os.getpid()}
