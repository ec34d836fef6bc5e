"""Seconds and memory that loading a BERT-Base of random weights takes, from both forms of the file.

    python benchmarks/engine_load.py --output results/engine_load.json

Each load is one of a fresh process, the forms taking turns; the file lies in the system's cache. Memory is the highest
resident size less what the process held with everything imported, beside twice the packed weights, which is the bound.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from provenance import provenance

from pruneofa.atomic import write_json
from pruneofa.engine.engine import Engine
from pruneofa.native import native_module

FORMS = ("bitmask", "packed")


def main() -> None:
    args = parse_arguments()
    if args.load is not None:
        print(json.dumps(load(args.load, args.threads[0])))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        write_files(folder, args.sparsity, args.layers)
        rows = measure(folder, args.threads, args.repeats)
    summary = {"benchmark": "engine_load", **provenance(), "sparsity": args.sparsity, "layers": args.layers}
    summary["rows"] = rows
    if args.output is not None:
        write_json(args.output, summary)
    print_table(rows)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time and memory of loading, for both forms of the file.")
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keeps the files, or holds those of a run before")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def write_files(folder: Path, sparsity: float, layers: int) -> None:
    """BERT-Base with an int8 encoder and float32 embeddings, in both forms, unless they are there."""
    if all((folder / f"{form}.pofa").exists() for form in FORMS):
        return
    from fuzzing.engine_models import make_full_size

    make_full_size(folder, sparsity, layers)


def measure(folder: Path, threads: list[int], repeats: int) -> list[dict[str, Any]]:
    cases = [(form, number) for number in threads for form in FORMS]
    found: dict[tuple[str, int], list[dict[str, Any]]] = {case: [] for case in cases}
    for _ in range(repeats):
        for form, number in cases:
            command = [sys.executable, __file__, "--load", str(folder / f"{form}.pofa"), "--threads", str(number)]
            ended = subprocess.run(command, capture_output=True, text=True, check=True)
            found[form, number].append(json.loads(ended.stdout))
    return [
        {
            "form": form,
            "threads": number,
            "file_bytes": (folder / f"{form}.pofa").stat().st_size,
            "seconds": statistics.median(row["seconds"] for row in rows),
            "fastest_seconds": min(row["seconds"] for row in rows),
            "processor_seconds": statistics.median(row["processor_seconds"] for row in rows),
            "peak_bytes": max(row["peak_bytes"] for row in rows),
            "weight_bytes": rows[0]["weight_bytes"],
        }
        for (form, number), rows in found.items()
    ]


def load(path: Path, threads: int) -> dict[str, Any]:
    """One load in this process."""
    native_module()
    with path.open("rb") as file:  # into the system's cache, in pieces: the peak of memory shall be the load's
        while file.read(2**20):
            pass
    before = resident_peak()
    begin, begin_processor = time.perf_counter(), time.process_time()
    engine = Engine.load(path, threads=threads)
    return {
        "seconds": time.perf_counter() - begin,
        "processor_seconds": time.process_time() - begin_processor,
        "peak_bytes": resident_peak() - before,
        "weight_bytes": engine.weight_bytes,
    }


def resident_peak() -> int:
    """The most memory that this process has held, by Linux; `getrusage` would count what its parent held before it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def print_table(rows: list[dict[str, Any]]) -> None:
    print(f"{'form':8} {'threads':>7} {'file MB':>8} {'seconds':>8} {'processor':>9} {'peak MB':>8} {'of weights':>10}")
    for row in rows:
        print(
            f"{row['form']:8} {row['threads']:7} {row['file_bytes'] / 1e6:8.1f} {row['seconds']:8.2f} "
            f"{row['processor_seconds']:9.2f} {row['peak_bytes'] / 1e6:8.0f} "
            f"{row['peak_bytes'] / row['weight_bytes']:9.2f}x"
        )


if __name__ == "__main__":
    main()
