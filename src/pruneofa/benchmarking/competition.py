"""A whole benchmark: for each number of threads the contestants are loaded, and for each shape they take turns."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from pruneofa.benchmarking.agreement import Agreement, compare
from pruneofa.benchmarking.alternation import Times, alternate
from pruneofa.benchmarking.config import BenchConfig
from pruneofa.benchmarking.contestants import Contestant
from pruneofa.benchmarking.inputs import Inputs, Shape, make_inputs, shapes_of
from pruneofa.benchmarking.process import WorkerError, WorkerProcess
from pruneofa.benchmarking.quiet import Quiet

__all__ = ["ModelFacts", "compete"]

logger = logging.getLogger(__name__)

_INPUTS = 8
_TRIAL_ROUNDS = 3
_COMPARED_TOKENS = 2048


@dataclass(frozen=True)
class ModelFacts:
    """What the inputs must fit.

    Attributes:
        vocabulary: Number of tokens.
        longest: Most tokens of a sequence; None where there is no limit.
    """

    vocabulary: int
    longest: int | None


@dataclass
class _Seat:
    """A contestant with its workers, one for each form that could be loaded."""

    contestant: Contestant
    workers: list[WorkerProcess]
    faults: list[str]
    agreements: dict[str, Agreement | None] = field(default_factory=dict)
    trials: dict[str, float] = field(default_factory=dict)


def compete(
    contestants: Sequence[Contestant],
    facts: ModelFacts,
    config: BenchConfig,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Time contestants beside each other; the first one is what the others are compared with.

    Args:
        contestants: Who takes part.
        facts: What the inputs must fit.
        config: Shapes, threads, repeats.
        progress: Called after each shape with what will be returned, as far as it is there.

    Returns:
        `loads` (a row for each number of threads and form: seconds, what the runtime says of itself), `cases` (for
        each number of threads and shape the rows of the contestants) and `faults` (forms that could not be loaded or
        answered otherwise), as plain values for JSON.

    Raises:
        ConfigurationError: A length is beyond the model's, or no shape is left.
        WorkerError: The first contestant fails.
    """
    shapes = shapes_of(config.batches, config.lengths, facts.longest, config.max_tokens)
    result: dict[str, Any] = {"loads": [], "cases": [], "faults": []}
    for threads in config.threads:
        with ExitStack() as stack:
            seats = [_seat(contestant, threads, stack) for contestant in contestants]
            if not seats[0].workers:
                raise WorkerError(seats[0].faults[0])
            loaded = list(result["loads"])
            for shape in shapes:
                logger.info("%d thread%s, %s", threads, "" if threads == 1 else "s", shape)
                result["cases"].append(_case(seats, shape, threads, facts, config))
                result["loads"] = [
                    *loaded,
                    *(_load_row(seat.contestant, one) for seat in seats for one in seat.workers),
                ]
                for seat in seats:
                    result["faults"] += [fault for fault in seat.faults if fault not in result["faults"]]
                if progress is not None:
                    progress(result)
    return result


def _seat(contestant: Contestant, threads: int, stack: ExitStack) -> _Seat:
    seat = _Seat(contestant, [], [])
    for form in contestant.forms:
        logger.info("loading %s, %s", contestant.name, form.name)
        try:
            seat.workers.append(stack.enter_context(WorkerProcess(form, threads)))
        except WorkerError as error:
            seat.faults.append(str(error))
    return seat


def _load_row(contestant: Contestant, worker: WorkerProcess) -> dict[str, Any]:
    return {
        "threads": worker.threads,
        "name": contestant.name,
        "form": worker.form.name,
        "load_seconds": worker.load_seconds,
        "facts": worker.facts,
    }


def _case(seats: list[_Seat], shape: Shape, threads: int, facts: ModelFacts, config: BenchConfig) -> dict[str, Any]:
    """The rows of one shape."""
    inputs = make_inputs(shape, min(_INPUTS, config.repeats), facts.vocabulary, config.seed)
    present = [(seat, worker) for seat in seats if (worker := _chosen(seats[0], seat, inputs, config)) is not None]
    watch = Quiet(worker.pid for _, worker in present)
    times = alternate(
        [worker.run for _, worker in present],
        repeats=config.repeats,
        inputs=len(inputs),
        seconds=config.seconds,
        calls=config.calls,
        min_repeats=config.min_repeats,
        pause=config.pause,
        seed=config.seed,
    )
    others = watch.others()
    rows = [_row(seat, worker, shape, each) for (seat, worker), each in zip(present, times, strict=True)]
    for row, each in zip(rows, times, strict=True):
        row["ratio"] = each.ratio(times[0])
    return {
        "threads": threads,
        "batch": shape.batch,
        "length": shape.length,
        "repeats": len(times[0].turns),
        "calls": config.calls,
        "others_cores": others,
        "rows": rows,
    }


def _chosen(first: _Seat, seat: _Seat, inputs: list[Inputs], config: BenchConfig) -> WorkerProcess | None:
    """The worker of the quickest form that answers as the first contestant does; None where none does."""
    seat.trials, seat.agreements = {}, {}
    usable = []
    for worker in list(seat.workers):
        try:
            worker.prepare(inputs)
            if seat is first or _agrees(first, seat, worker, inputs):
                usable.append(worker)
        except WorkerError as error:
            if seat is first:
                raise
            seat.faults.append(str(error))
            seat.workers.remove(worker)
    if len(usable) > 1:
        times = alternate(
            [worker.run for worker in usable],
            repeats=min(_TRIAL_ROUNDS, config.repeats),
            inputs=len(inputs),
            seconds=config.seconds / 2,
            calls=config.calls,
            pause=config.pause,
            seed=config.seed,
        )
        seat.trials = {worker.form.name: each.median for worker, each in zip(usable, times, strict=True)}
        usable.sort(key=lambda worker: seat.trials[worker.form.name])
    return usable[0] if usable else None


def _agrees(first: _Seat, seat: _Seat, worker: WorkerProcess, inputs: list[Inputs]) -> bool:
    """Whether a worker computes the first contestant's model, where it should; a form that does not is left out."""
    if seat.contestant.model != first.contestant.model:
        return True
    compared = range(max(1, min(len(inputs), _COMPARED_TOKENS // inputs[0]["input_ids"].size)))
    reference = first.workers[0]
    found = compare([reference.answer(i) for i in compared], [worker.answer(i) for i in compared])
    seat.agreements[worker.form.name] = found
    if found is None or not found.holds:
        told = (
            "are of other shapes, or no numbers" if found is None else f"differ by {found.relative:.2f} of their size"
        )
        fault = f"{seat.contestant.name} ({worker.form.name}): its answers {told}; left out"
        if fault not in seat.faults:
            seat.faults.append(fault)
        return False
    return True


def _row(seat: _Seat, worker: WorkerProcess, shape: Shape, times: Times) -> dict[str, Any]:
    agreement = seat.agreements.get(worker.form.name)
    return {
        "name": seat.contestant.name,
        "model": seat.contestant.model,
        "form": worker.form.name,
        "median_seconds": times.median,
        "p95_seconds": times.p95,
        "first_seconds": times.first,
        "least_seconds": min(times.seconds),
        "items_per_second": shape.batch / times.median,
        "load_seconds": worker.load_seconds,
        "memory_bytes": worker.memory(),
        "agreement": None if agreement is None else dataclasses.asdict(agreement),
        "trials_seconds": seat.trials,
    }
