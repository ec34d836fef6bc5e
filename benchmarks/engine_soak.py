"""Many requests of random shapes from several threads: every answer as computed before, memory flat.

    python benchmarks/engine_soak.py --requests 5000                     # a look
    python benchmarks/engine_soak.py --output results/engine_soak.json    # 200,000 requests from 8 threads

Two small models, an int8 and a float one, each loaded once and called by all threads. Requests are batches of 1 to 4
sequences of 1 to 120 tokens with random masks; their answers were computed one by one before. Resident memory is
sampled all along: it must not be higher at the end than it was after the first tenth, but for MARGIN.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing.engine_models import make_soak_models, token_ids
from numpy.typing import NDArray
from provenance import provenance

from pruneofa.atomic import write_json
from pruneofa.engine.engine import Engine

KINDS = 300  # different requests to each model
LONGEST = 120
MARGIN = 8 * 2**20
SAMPLES_SECONDS = 0.5


@dataclass(frozen=True)
class Request:
    """A batch, and its right hidden states and logits as bytes."""

    engine: Engine
    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    answer: tuple[bytes, bytes]


def main() -> None:
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        engines = [Engine.load(path, threads=args.engine_threads) for path in make_soak_models(Path(folder))]
    found = soak(engines, args.requests, args.threads, args.seed)
    summary = {"benchmark": "engine_soak", **provenance(), "kernel": engines[0].kernel, **found}
    if args.output is not None:
        write_json(args.output, summary)
    print_table(summary)
    sys.exit(0 if summary["wrong"] == 0 and summary["errors"] == [] and summary["flat"] else 1)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Soak test of the engine.")
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--threads", type=int, default=8, help="threads that call")
    parser.add_argument("--engine_threads", type=int, default=2, help="cores that one call may use")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    return parser.parse_args()


def soak(engines: list[Engine], requests: int, threads: int, seed: int) -> dict[str, Any]:
    """Run the requests and say what came of them."""
    pool = [make_request(engine, seed + kind) for engine in engines for kind in range(KINDS)]
    rss_at_start = resident_bytes()
    lock, errors = threading.Lock(), []
    counts = {"done": 0, "wrong": 0}

    def call(number: int) -> None:
        rng = random.Random(seed * threads + number)
        try:
            for _ in range(requests // threads + (number < requests % threads)):
                request = rng.choice(pool)
                right = answer(request.engine, request.ids, request.mask) == request.answer
                with lock:
                    counts["done"] += 1
                    counts["wrong"] += not right
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}"[:500])

    callers = [threading.Thread(target=call, args=(number,)) for number in range(threads)]
    begin = time.perf_counter()
    for caller in callers:
        caller.start()
    samples = []
    while any(caller.is_alive() for caller in callers):
        samples.append((counts["done"], resident_bytes()))
        time.sleep(SAMPLES_SECONDS)
    for caller in callers:
        caller.join()
    samples.append((counts["done"], resident_bytes()))
    warm = max([rss for done, rss in samples if done <= requests / 10] + [rss_at_start])
    end = samples[-1][1]
    return {
        "requests": requests,
        "threads": threads,
        "engine_threads": engines[0].threads,
        "done": counts["done"],
        "wrong": counts["wrong"],
        "errors": errors[:20],
        "seconds": round(time.perf_counter() - begin, 1),
        "rss_bytes": {"start": rss_at_start, "after_a_tenth": warm, "end": end, "highest": max(r for _, r in samples)},
        "rss_samples": samples[:: max(1, len(samples) // 100)],
        "workspace_bytes": [engine.workspace_bytes for engine in engines],
        "flat": end <= warm + MARGIN,
    }


def make_request(engine: Engine, seed: int) -> Request:
    """A random batch; its answer is computed sequence by sequence."""
    rng = np.random.default_rng(seed)
    batch, length = int(rng.integers(1, 5)), int(rng.integers(1, LONGEST + 1))
    ids = token_ids(seed, batch, length)
    mask = (rng.random(ids.shape) < rng.choice([0.3, 0.9, 1.0])).astype(np.int64)
    mask[:, 0] = 1
    rows = [answer(engine, ids[row : row + 1], mask[row : row + 1]) for row in range(batch)]
    states, logits = (b"".join(part) for part in zip(*rows, strict=True))
    return Request(engine, ids, mask, (states, logits))


def answer(engine: Engine, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> tuple[bytes, bytes]:
    """Hidden states and logits, as bytes."""
    found = engine.run(ids, mask, hidden_states=True)
    assert found.hidden_states is not None
    return found.hidden_states.tobytes(), b"" if found.logits is None else found.logits.tobytes()


def resident_bytes() -> int:
    """Memory of this process that is in use now."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def print_table(summary: dict[str, Any]) -> None:
    rss = {name: f"{value / 2**20:.1f}" for name, value in summary["rss_bytes"].items()}
    print(f"{summary['done']:,} of {summary['requests']:,} requests from {summary['threads']} threads", end=" ")
    print(f"in {summary['seconds']} s: {summary['wrong']} wrong, {len(summary['errors'])} errors")
    print("MiB resident: " + ", ".join(f"{name} {value}" for name, value in rss.items()))


if __name__ == "__main__":
    main()
