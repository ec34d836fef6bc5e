"""Hostile files, matrices, arrays and parts against the engine: every case ends in an answer or a clean error.

    python benchmarks/engine_fuzz.py --minutes 1                     # a look, with the installed module
    python benchmarks/engine_fuzz.py --minutes 30 --native BUILD/_native.so --output results/engine_fuzz.json
    python benchmarks/engine_fuzz.py --case 12345                    # one case, with its traceback

With --native a module that was built with sanitizers takes the place of the installed one (`make engine-fuzz`).

Cases are numbered; a number decides everything about its case. Children run them, and write down each number before it
begins, so that a child that dies or hangs costs one case, which is then a fault. Four families: `.pofa` files of both
forms, damaged blindly or forged with every hash repaired, into Engine.load; damaged matrices into the compiled
decoders, which must do bit for bit and word for word what the numpy decoders of the tests do; arrays of any shape, type
and value into Engine.run and into the compiled model; and models put together from hostile parts.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from fuzzing.engine_models import make_engine_seeds
from provenance import provenance

from pruneofa.atomic import write_json

CHUNK = 3000
HANG_SECONDS = 60.0
PRELOADED = ("libasan.so", "libubsan.so")
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=32:halt_on_error=1",  # CPython itself keeps memory until its end
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}


def main() -> None:
    args = parse_arguments()
    if args.child is not None:
        child(args)
        return
    with tempfile.TemporaryDirectory() as temporary:
        seeds = Path(temporary)
        make_engine_seeds(seeds)
        if args.case is not None:
            sys.exit(start(args, seeds, args.case, 1, show=True).wait())
        results = fuzz(args, seeds)
    summary = {"benchmark": "engine_fuzz", **provenance(), **summarise(results)}
    summary["sanitizers"] = args.sanitizers if args.native is not None else "none"
    summary["command"] = f"python benchmarks/engine_fuzz.py --minutes {args.minutes:g}" + (
        " --native BUILD/_native.so" if args.native else ""
    )
    if args.output is not None:
        write_json(args.output, summary)
    print_table(summary)
    sys.exit(1 if summary["faults"] else 0)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fuzz the engine's loader, decoders, arrays and parts.")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--native", type=Path, help="a module built with sanitizers")
    parser.add_argument("--sanitizers", default="address,undefined", help="with which --native was built")
    parser.add_argument("--journal", type=Path, help="keeps what is done, so that a run can go on")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    parser.add_argument("--case", type=int, help="run this one case and show what happens")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)  # first, cases, seeds
    return parser.parse_args()


def fuzz(args: argparse.Namespace, seeds: Path) -> list[dict[str, Any]]:
    """Chunks of cases in children, one after the other, until the time is over."""
    results = []
    if args.journal is not None and args.journal.exists():
        results = [json.loads(line) for line in args.journal.read_text(encoding="utf-8").splitlines()]
    first = max([args.first, *(result["first"] + result["cases"] for result in results)])
    spent = sum(result["seconds"] for result in results)
    while spent < 60 * args.minutes:
        begin = time.monotonic()
        result = chunk(args, seeds, first)
        result["seconds"] = time.monotonic() - begin
        spent += result["seconds"]
        first += result["cases"]
        results.append(result)
        if args.journal is not None:
            with args.journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
        cases, faults = sum(r["cases"] for r in results), sum(len(r["faults"]) for r in results)
        for fault in result["faults"]:
            print(f"case {fault['case']}: {fault['error']}", file=sys.stderr)
        print(f"{spent / 60:.1f} minutes, {cases:,} cases, {faults} faults", file=sys.stderr, flush=True)
    return results


def chunk(args: argparse.Namespace, seeds: Path, first: int) -> dict[str, Any]:
    """The result of up to CHUNK cases in one child."""
    progress = seeds / "progress"
    process = start(args, seeds, first, CHUNK)
    seen, since = "", time.monotonic()
    while process.poll() is None:
        time.sleep(0.2)
        now = progress.read_text(encoding="utf-8")
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > HANG_SECONDS:
            process.kill()
            process.wait()
    log = (seeds / "log").read_text(encoding="utf-8", errors="replace")
    result_file = seeds / "result"
    result: dict[str, Any] = json.loads(result_file.read_text(encoding="utf-8"))
    if process.returncode != 0:
        case = int(progress.read_text(encoding="utf-8") or first)
        fault = {"case": case, "family": "?", "error": f"the process ended with {process.returncode}: {log[-2000:]}"}
        result = {**result, "first": first, "cases": case - first + 1, "faults": [*result["faults"], fault]}
    return result


def start(args: argparse.Namespace, seeds: Path, first: int, cases: int, *, show: bool = False) -> Any:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if args.native is not None:
        found = [
            subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout
            for name in PRELOADED
        ]
        environment |= {"LD_PRELOAD": " ".join(path.strip() for path in found), **OPTIONS}
    (seeds / "progress").write_text(str(first), encoding="utf-8")
    (seeds / "result").write_text(json.dumps({"counts": {}, "faults": []}), encoding="utf-8")
    command = [sys.executable, str(Path(__file__)), "--child", str(first), str(cases), str(seeds)]
    if args.native is not None:
        command += ["--native", str(args.native)]
    with (seeds / "log").open("w") as log:
        return subprocess.Popen(command, env=environment, stderr=None if show else log)


def child(args: argparse.Namespace) -> None:
    first, cases, seeds = int(args.child[0]), int(args.child[1]), Path(args.child[2])
    if args.native is not None:
        specification = importlib.util.spec_from_file_location("pruneofa._native", args.native)
        assert specification is not None and specification.loader is not None
        sys.modules["pruneofa._native"] = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(sys.modules["pruneofa._native"])
    from fuzzing.engine_cases import EngineCases

    counts: Counter[str] = Counter()
    faults = []
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder, (seeds / "progress").open("r+") as progress:
        everything = EngineCases(seeds, Path(folder))
        for number in range(first, first + cases):
            progress.seek(0)
            progress.write(str(number))
            progress.flush()
            try:
                counts["/".join(everything.run(number))] += 1
            except Exception as error:
                traceback.print_exc()
                where = traceback.extract_tb(error.__traceback__)[-1]
                text = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {error}"
                faults.append({"case": number, "family": "?", "error": text[:500]})
            if number % 200 == 199 or number == first + cases - 1:
                result = {"first": first, "cases": cases, "counts": counts, "faults": faults}
                (seeds / "result").write_text(json.dumps(result), encoding="utf-8")


def summarise(results: list[dict[str, Any]]) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(result["counts"])
    rows: dict[str, dict[str, int]] = {}
    for key, count in sorted(counts.items()):
        family, kind, outcome = key.split("/")
        row = rows.setdefault(f"{family}/{kind}", {"refused": 0, "computed": 0})
        row[outcome] += count
    faults = [fault for result in results for fault in result["faults"]]
    return {
        "cases": sum(result["cases"] for result in results),
        "minutes": round(sum(result["seconds"] for result in results) / 60, 1),
        "faults": len(faults),
        "fault_examples": faults[:50],
        "rows": rows,
    }


def print_table(summary: dict[str, Any]) -> None:
    print(f"{'family/kind':20} {'refused':>9} {'computed':>9}")
    for name, row in summary["rows"].items():
        print(f"{name:20} {row['refused']:9,} {row['computed']:9,}")
    print(
        f"{summary['cases']:,} cases in {summary['minutes']} minutes, sanitizers: {summary['sanitizers']}, "
        f"{summary['faults']} faults"
    )
    for fault in summary["fault_examples"]:
        print(f"case {fault['case']}: {fault['error']}")


if __name__ == "__main__":
    main()
