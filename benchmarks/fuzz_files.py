"""Mutated files against the readers: every case ends in a clean error or a correct read, in bounded time and memory.

    python benchmarks/fuzz_files.py --cases 20000                               # a look
    python benchmarks/fuzz_files.py --cases 1000000 --journal runs/fuzz.jsonl    # goes on where it was stopped
    python benchmarks/fuzz_files.py --case 12345                                   # one case again, with its traceback

Cases are numbered; a number decides everything about its case. Valid files (`.pofa` in both forms, float and int8, the
scales beside a model, ONNX) are damaged blindly, or forged: a field, a table or a size is changed and every hash made
to fit again, so that only the deeper checks can object. A read without an error is checked: where no hash was repaired
it must give what was written, otherwise what an independent scalar reader gives (for packed tensors the one printed in
docs/format.md). A worker's address space is limited, a case's processor time too; a worker that dies is a fault.
"""

import argparse
import ast
import hashlib
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import tracemalloc
from collections import Counter
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any

from fuzzing.mutations import MUTATIONS
from fuzzing.seeds import Seed, make_seeds
from fuzzing.targets import Judge
from provenance import provenance

import pruneofa
from pruneofa.atomic import write_json
from pruneofa.errors import CheckpointError

SHARES = {"pofa": 0.8, "quantization": 0.1, "onnx": 0.1}
CHUNK = 2000
# Address space that a worker may take beyond what it starts with. The largest tensor that a forged file of these sizes
# can bear out has 2**26 elements, 256 MiB as float32, and is made in several steps.
MEMORY_LIMIT = 2**30
SECONDS_LIMIT = 10.0  # processor time of a case
TRACED_EVERY = 64  # one case in so many has its peak of memory measured, which is slow
READERS = ("checkpoint", "export/inspection.py", "export/onnx_file.py", "export/weights.py", "quantization/state.py")


def main() -> None:
    args = parse_arguments()
    if args.case is not None:
        show_case(args.case)
        return
    begin = time.perf_counter()
    results = load_journal(args.journal, args.first, args.cases)
    done = {result["first"] for result in results}
    chunks = [(first, min(CHUNK, args.first + args.cases - first)) for first in chunk_starts(args)]
    resumed = sum(result["cases"] for result in results)
    for result in run_chunks([chunk for chunk in chunks if chunk[0] not in done], args.processes):
        results.append(result)
        if args.journal is not None:
            with args.journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
        cases = sum(result["cases"] for result in results)
        rate = (cases - resumed) / (time.perf_counter() - begin)
        faults = sum(len(result["faults"]) for result in results)
        print(f"{cases:,} of {args.cases:,} cases, {rate:,.0f} a second, {faults} faults", file=sys.stderr, flush=True)
    summary = {"benchmark": "fuzz_files", **provenance(), "first_case": args.first, **summarise(results)}
    summary["seconds_of_work"] = sum(result["seconds"] for result in results)
    if args.output is not None:
        write_json(args.output, summary)
    print_table(summary)
    print(json.dumps(summary))
    sys.exit(1 if summary["faults"] else 0)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fuzz the readers of .pofa, quantization.safetensors and ONNX files.")
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--journal", type=Path, help="keeps what is done, so that a run can go on")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    parser.add_argument("--case", type=int, help="run this one case and show what happens")
    return parser.parse_args()


def chunk_starts(args: argparse.Namespace) -> range:
    return range(args.first, args.first + args.cases, CHUNK)


def load_journal(path: Path | None, first: int, cases: int) -> list[dict[str, Any]]:
    """What earlier runs of the same code have done of these cases."""
    if path is None or not path.exists():
        return []
    key, found = code_hash(), {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            result = json.loads(line)
        except ValueError:
            continue  # cut off when the run was killed
        whole = first <= result["first"] and result["first"] + result["cases"] <= first + cases
        if result["code"] == key and whole and (result["first"] - first) % CHUNK == 0:
            found[result["first"]] = result
    return list(found.values())


def code_hash() -> str:
    """Of the readers, compiled ones included, and of this benchmark: results of other code are not counted."""
    state = hashlib.sha256()
    here = Path(__file__).parent
    compiled = sorted((here.parent / "csrc" / "file").glob("*.[ch]pp"))
    ours = [here / "fuzz_files.py", *(here / "fuzzing" / f"{name}.py" for name in ("mutations", "seeds", "targets"))]
    for path in [*reader_files(), *compiled, *ours]:
        state.update(path.read_bytes())
    return state.hexdigest()


def reader_files() -> list[Path]:
    root = Path(pruneofa.__file__).parent
    return sorted(p for name in READERS for p in ((root / name).glob("*.py") if "." not in name else [root / name]))


class OutOfTime(BaseException):
    """A case took too much processor time; no reader catches it."""


def run_case(number: int, seeds: list[Seed], judge: Judge) -> tuple[str, str, BaseException | None]:
    """One case: family, kind of mutation, and what was raised (None: read correctly)."""
    rng = random.Random(number)
    family = rng.choices(list(SHARES), list(SHARES.values()))[0]
    seed = rng.choice([seed for seed in seeds if seed.family == family])
    kind, mutate = rng.choice(MUTATIONS[family])
    content = mutate(rng, seed.content)
    try:
        judge.read(seed, kind, content, rng)
    except BaseException as error:
        return family, kind, error
    return family, kind, None


def run_range(first: int, cases: int, seeds: list[Seed], judge: Judge, current: Any = None) -> dict[str, Any]:
    """A stretch of cases in this process."""
    counts: Counter[str] = Counter()
    sites: set[str] = set()
    faults: list[dict[str, Any]] = []
    slowest, peak = (0.0, -1), (0, -1)
    begin = time.process_time()
    for number in range(first, first + cases):
        if current is not None:
            current.value = number
        traced = number % TRACED_EVERY == 0
        if traced:
            tracemalloc.start()
        start = time.process_time()
        family, kind, error = run_case(number, seeds, judge)
        seconds = time.process_time() - start
        if traced:
            peak = max(peak, (tracemalloc.get_traced_memory()[1], number))
            tracemalloc.stop()
        else:
            slowest = max(slowest, (seconds, number))
        outcome = "read" if error is None else "refused"
        if isinstance(error, CheckpointError):
            sites.add(raised_at(error.__traceback__))
        elif error is not None:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise error
            outcome = "fault"
            faults.append(
                {"case": number, "family": family, "kind": kind, "error": f"{type(error).__name__}: {error}"[:300]}
            )
        counts[f"{family}/{kind}/{outcome}"] += 1
    return {
        "code": code_hash(),
        "first": first,
        "cases": cases,
        "counts": dict(counts),
        "sites": sorted(sites),
        "faults": faults,
        "slowest": slowest,
        "peak": peak,
        "seconds": time.process_time() - begin,
    }


def raised_at(trace: TracebackType | None) -> str:
    """File and line of the check that objected."""
    place = ""
    while trace is not None:
        place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def worker(pipe: Connection, current: Any) -> None:
    """Runs the stretches that come through the pipe."""

    def out_of_time(*_: Any) -> None:
        raise OutOfTime(f"more than {SECONDS_LIMIT:.0f} s of processor time")

    signal.signal(signal.SIGPROF, out_of_time)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory() as kept, tempfile.TemporaryDirectory(dir=memory) as fast:
        seeds = make_seeds(Path(kept))
        judge = Judge(Path(fast), seeds)
        run_range(0, 50, seeds, judge)  # so that what is loaded late does not count
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_LIMIT, used + MEMORY_LIMIT))
        while (task := pipe.recv()) is not None:
            timed = _Timed(judge)
            pipe.send(run_range(*task, seeds, timed, current))


class _Timed(Judge):
    """A judge that limits each case's processor time."""

    def __init__(self, judge: Judge) -> None:
        self.__dict__.update(judge.__dict__)

    def read(self, seed: Seed, kind: str, content: bytes, rng: random.Random) -> str:
        signal.setitimer(signal.ITIMER_PROF, SECONDS_LIMIT)
        try:
            return super().read(seed, kind, content, rng)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


def run_chunks(chunks: list[tuple[int, int]], processes: int) -> Any:
    """Yield the result of each chunk; a worker that dies costs its case, which is then a fault."""
    context = multiprocessing.get_context("spawn")
    waiting = list(reversed(chunks))
    busy: dict[Connection, tuple[BaseProcess, Any, tuple[int, int]]] = {}

    def start(task: tuple[int, int]) -> None:
        ours, theirs = context.Pipe()
        current = context.Value("q", -1, lock=False)
        process = context.Process(target=worker, args=(theirs, current), daemon=True)
        process.start()
        theirs.close()
        ours.send(task)
        busy[ours] = (process, current, task)

    for _ in range(min(processes, len(waiting))):
        start(waiting.pop())
    while busy:
        for pipe in wait(list(busy)):
            assert isinstance(pipe, Connection)
            process, current, task = busy.pop(pipe)
            try:
                yield pipe.recv()
            except (EOFError, ConnectionError):
                process.join()
                yield from died(task, int(current.value), process.exitcode)
                if waiting:
                    start(waiting.pop())
                continue
            if waiting:
                task = waiting.pop()
                pipe.send(task)
                busy[pipe] = (process, current, task)
            else:
                pipe.send(None)
                process.join()


def died(task: tuple[int, int], case: int, exit_code: int | None) -> Any:
    """The result of a chunk whose worker died: what came before and after the case is run again, in new workers."""
    first, cases = task
    if case < first:  # before its first case: nothing to go on from
        raise RuntimeError(f"a worker died with exit code {exit_code} before it began; too little memory?")
    parts = [(first, case - first), (case + 1, first + cases - case - 1)]
    merged = merge([result for part in parts if part[1] for result in run_chunks([part], 1)])
    fault = {"case": case, "family": "?", "kind": "?", "error": f"the process died with exit code {exit_code}"}
    merged["faults"] = [*merged["faults"], fault]
    merged["counts"]["?/?/fault"] = merged["counts"].get("?/?/fault", 0) + 1
    yield {**merged, "code": code_hash(), "first": first, "cases": cases}


def merge(results: list[dict[str, Any]]) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(result["counts"])
    return {
        "counts": dict(counts),
        "sites": sorted({site for result in results for site in result["sites"]}),
        "faults": [fault for result in results for fault in result["faults"]],
        "slowest": max((tuple(result["slowest"]) for result in results), default=(0.0, -1)),
        "peak": max((tuple(result["peak"]) for result in results), default=(0, -1)),
        "seconds": sum(result["seconds"] for result in results),
    }


def summarise(results: list[dict[str, Any]]) -> dict[str, Any]:
    merged = merge(results)
    rows: dict[str, dict[str, int]] = {}
    for key, count in sorted(merged["counts"].items()):
        family, kind, outcome = key.split("/")
        row = rows.setdefault(f"{family}/{kind}", {"cases": 0, "refused": 0, "read": 0, "fault": 0})
        row["cases"] += count
        row[outcome] += count
    return {
        "cases": sum(row["cases"] for row in rows.values()),
        "refused": sum(row["refused"] for row in rows.values()),
        "read": sum(row["read"] for row in rows.values()),
        "faults": sum(row["fault"] for row in rows.values()),
        "fault_examples": merged["faults"][:50],
        "checks_that_objected": len(merged["sites"]),
        "checks_in_the_readers": sum(refusals(path) for path in reader_files()),
        "slowest_seconds": merged["slowest"][0],
        "slowest_case": merged["slowest"][1],
        "peak_bytes": merged["peak"][0],
        "peak_case": merged["peak"][1],
        "memory_limit_bytes": MEMORY_LIMIT,
        "seconds_limit": SECONDS_LIMIT,
        "rows": rows,
    }


def refusals(path: Path) -> int:
    """Number of `raise` statements in a file, not counting those that pass an error on."""
    return sum(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(ast.parse(path.read_text())))


def print_table(summary: dict[str, Any]) -> None:
    print(f"{'family/mutation':<24}{'cases':>12}{'refused':>12}{'read':>12}{'faults':>8}")
    for name, row in summary["rows"].items():
        print(f"{name:<24}{row['cases']:>12,}{row['refused']:>12,}{row['read']:>12,}{row['fault']:>8,}")
    total = {key: summary[key] for key in ("cases", "refused", "read", "faults")}
    print(f"{'all':<24}{total['cases']:>12,}{total['refused']:>12,}{total['read']:>12,}{total['faults']:>8,}")
    print(
        f"{summary['checks_that_objected']} of {summary['checks_in_the_readers']} checks objected at least once; "
        f"slowest case {summary['slowest_seconds']:.2f} s (number {summary['slowest_case']}), highest peak of memory "
        f"{summary['peak_bytes'] / 2**20:.1f} MiB (number {summary['peak_case']})"
    )
    for fault in summary["fault_examples"]:
        print(f"FAULT: case {fault['case']} ({fault['family']}/{fault['kind']}): {fault['error']}")


def show_case(number: int) -> None:
    with tempfile.TemporaryDirectory() as kept, tempfile.TemporaryDirectory() as fast:
        seeds = make_seeds(Path(kept))
        family, kind, error = run_case(number, seeds, Judge(Path(fast), seeds))
    if error is None:
        print(f"case {number}: {family}/{kind}: read, correctly")
    else:
        print(f"case {number}: {family}/{kind}:")
        traceback.print_exception(error)


if __name__ == "__main__":
    main()
