"""The engine beside OpenVINO, ONNX Runtime and PyTorch, on models of full size with random weights and on a real one.

    python benchmarks/engine.py --prepare                            # writes the models and the peers' files; long
    python benchmarks/engine.py --output results/engine.json         # times them; needs a quiet machine
    python benchmarks/engine.py --cases minilm float --repeats 3     # some parts; the others stay in the file
    python benchmarks/engine.py --cases real --model runs/demo/model.pofa

Parts:

- base, minilm: int8, 90 % zeros, all products in int8, beside each peer; and, in the same rounds, the engine with the
  last layer computed for every token (for a classification it does so for the first alone), and with the authors'
  scheme, whose attention products are float. 1 x 128, 1 x 384 and 16 x 128 tokens.
- float: BERT-Base, 90 % zeros, not quantized, beside OpenVINO in bfloat16.
- sparsity: BERT-Base in int8 from 50 to 95 % zeros beside OpenVINO in int8, all in the same rounds, and the sparsity
  from which on the engine is quicker. OpenVINO multiplies by each zero, so it has one model, that of 90 %.
- real: a model that was trained (--model), whose rows are unevenly sparse.

All of it is `pruneofa bench`'s own code: a process for each runtime, turns in every round, medians.
"""

import argparse
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pages.engine_views import AUTHORS, EVERY_TOKEN, break_even_text
from provenance import provenance

from pruneofa import machine
from pruneofa.atomic import write_json
from pruneofa.benchmarking.bench import bench_model
from pruneofa.benchmarking.competition import compete
from pruneofa.benchmarking.config import BenchConfig
from pruneofa.benchmarking.contestants import ENGINE, Contestant, Form
from pruneofa.benchmarking.forms import prepare_model
from pruneofa.benchmarking.inputs import shapes_of
from pruneofa.benchmarking.verdict import break_even_sparsity
from pruneofa.reporting.bench import TEXT_COLUMNS, bench_grid, bench_lines
from pruneofa.reporting.tables import markdown_table

SPARSITY = 0.9
MAX_TOKENS = 2048
SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
ALL_PEERS = ("openvino", "onnxruntime", "torch")
LOADING_SECONDS = {"base": 40, "minilm": 15, "float": 15, "sparsity": 20, "real": 15}
"""For each number of threads, roughly, for the estimate."""


@dataclass(frozen=True)
class Part:
    """A part of the benchmark.

    Attributes:
        batches: Sequences of a call.
        lengths: Tokens of a sequence; shapes of more than `MAX_TOKENS` are left out.
        peers: Beside which it is timed.
        seconds: A shape's limit.
        run: What measures it: arguments, settings -> document.
    """

    batches: tuple[int, ...]
    lengths: tuple[int, ...]
    peers: tuple[str, ...]
    seconds: float
    run: Callable[[argparse.Namespace, BenchConfig], dict[str, Any]]


def model_path(args: argparse.Namespace, size: str, sparsity: float, scheme: str) -> Path:
    """Where a synthetic model lies; it is made where it is not there."""
    from synthetic_models import write_synthetic

    size = "tiny" if args.tiny else size
    return write_synthetic(args.work / f"{size}-{100 * sparsity:.0f}-{scheme}.pofa", size, sparsity, scheme)


def peers_folder(args: argparse.Namespace, path: Path) -> Path:
    """Where the peers' forms of a model are kept."""
    return Path(args.work) / path.stem


def measure_int8(size: str) -> Callable[[argparse.Namespace, BenchConfig], dict[str, Any]]:
    """The part of one encoder in int8, with the authors' scheme beside it."""

    def run(args: argparse.Namespace, config: BenchConfig) -> dict[str, Any]:
        path = model_path(args, size, SPARSITY, "int8")
        authors = model_path(args, size, SPARSITY, "authors")
        beside = (
            Contestant(ENGINE, (Form(ENGINE, "int8, every token", str(path), {"every_token": True}),), EVERY_TOKEN),
            Contestant(ENGINE, (Form(ENGINE, "int8, float attention", str(authors)),), AUTHORS),
        )
        name = "tiny" if args.tiny else size
        return bench_model(str(path), config, work_dir=peers_folder(args, path), name=name, beside=beside)

    return run


def measure_float(args: argparse.Namespace, config: BenchConfig) -> dict[str, Any]:
    """BERT-Base that is not quantized."""
    path = model_path(args, "bert-base", SPARSITY, "float")
    return bench_model(str(path), config, work_dir=peers_folder(args, path), name="bert-base")


def measure_real(args: argparse.Namespace, config: BenchConfig) -> dict[str, Any]:
    """A model that was trained."""
    folder = Path(args.work) / f"real-{args.model.parent.name}-{args.model.stem}"
    return bench_model(str(args.model), config, work_dir=folder, name=args.model.name)


def measure_sparsity(args: argparse.Namespace, config: BenchConfig) -> dict[str, Any]:
    """The engine from sparsity to sparsity, and where it breaks even."""
    paths = {sparsity: model_path(args, "bert-base", sparsity, "int8") for sparsity in SPARSITIES}
    own = [
        Contestant(f"{100 * sparsity:.0f} %", (Form(ENGINE, "int8", str(path)),), f"{sparsity}")
        for sparsity, path in paths.items()
    ]
    prepared = prepare_model(str(paths[SPARSITY]), config.peers, peers_folder(args, paths[SPARSITY]))
    found = compete((*own, *prepared.contestants[1:]), prepared.facts, config)
    results = []
    for case in found["cases"]:
        peer = case["rows"][-1]
        times = [row["median_seconds"] for row in case["rows"][:-1]]
        points = list(zip(SPARSITIES, times, strict=True))
        results.append(
            {
                **{key: case[key] for key in ("threads", "batch", "length", "repeats", "calls", "others_cores")},
                "points": [[sparsity, seconds] for sparsity, seconds in points],
                "peer": {key: peer[key] for key in ("name", "form", "median_seconds", "trials_seconds")},
                "break_even": break_even_sparsity(points, peer["median_seconds"]),
            }
        )
    return {"settings": config.model_dump(mode="json"), "machine": machine.describe(), "sparsities": results}


PARTS: dict[str, Part] = {
    "base": Part((1, 16), (128, 384), ALL_PEERS, 25.0, measure_int8("bert-base")),
    "minilm": Part((1, 16), (128, 384), ALL_PEERS, 12.0, measure_int8("minilm-l6")),
    "float": Part((1,), (128,), ("openvino",), 15.0, measure_float),
    "sparsity": Part((1,), (128,), ("openvino",), 20.0, measure_sparsity),
    "real": Part((1, 16), (128,), ALL_PEERS, 12.0, measure_real),
}


def config_of(args: argparse.Namespace, part: Part) -> BenchConfig:
    """The settings of a part."""
    return BenchConfig(
        lengths=part.lengths,
        batches=part.batches,
        max_tokens=MAX_TOKENS,
        threads=tuple(args.threads),
        peers=part.peers,
        repeats=args.repeats,
        seconds=part.seconds,
        min_repeats=min(5, args.repeats),
    )


def longest_time(args: argparse.Namespace, name: str) -> float:
    """Seconds that a part takes at most, roughly: the shapes' limits, the trials of forms, and loading."""
    part = PARTS[name]
    shapes = len(shapes_of(part.batches, part.lengths, None, MAX_TOKENS))
    return len(args.threads) * (shapes * 1.5 * part.seconds + LOADING_SECONDS[name])


def prepare(args: argparse.Namespace) -> None:
    """Write every model and every peer's form of it."""
    for name in args.cases:
        if name in ("base", "minilm"):
            size = "bert-base" if name == "base" else "minilm-l6"
            path = model_path(args, size, SPARSITY, "int8")
            model_path(args, size, SPARSITY, "authors")
        elif name == "float":
            path = model_path(args, "bert-base", SPARSITY, "float")
        elif name == "real":
            path = args.model
            prepare_model(str(path), PARTS[name].peers, Path(args.work) / f"real-{path.parent.name}-{path.stem}")
            continue
        else:
            for sparsity in SPARSITIES:
                model_path(args, "bert-base", sparsity, "int8")
            path = model_path(args, "bert-base", SPARSITY, "int8")
        prepare_model(str(path), PARTS[name].peers, peers_folder(args, path))


def show(name: str, document: dict[str, Any]) -> str:
    """A part as text."""
    if "sparsities" not in document:
        table = markdown_table(bench_grid(document), text_columns=TEXT_COLUMNS)
        return f"{name}\n\n{table}\n" + "\n".join(bench_lines(document)) + "\n"
    lines = [name, ""]
    for case in document["sparsities"]:
        peer = case["peer"]
        lines.append(f"{case['batch']} x {case['length']}, {case['threads']} thread(s), engine by sparsity:")
        lines += [f"  {100 * sparsity:.0f} %  {1000 * seconds:.1f} ms" for sparsity, seconds in case["points"]]
        lines.append(f"  {peer['name']} ({peer['form']}) {1000 * peer['median_seconds']:.1f} ms")
        lines.append(f"  break-even: {break_even_text(case)} %")
    return "\n".join(lines) + "\n"


def main() -> None:
    args = parse_arguments()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("pruneofa").setLevel(logging.INFO)
    args.work.mkdir(parents=True, exist_ok=True)
    if args.prepare:
        prepare(args)
        return
    limit = sum(longest_time(args, name) for name in args.cases)
    print(f"{', '.join(args.cases)}: at most about {limit / 60:.0f} minutes, if all files are prepared", flush=True)
    result: dict[str, Any] = {"benchmark": "engine", "parts": {}}
    if args.output is not None and args.output.exists():
        result["parts"] = dict(json.loads(args.output.read_text(encoding="utf-8"))["parts"])
    for name in args.cases:
        started = time.monotonic()
        document = PARTS[name].run(args, config_of(args, PARTS[name]))
        made = provenance()
        document = {**document, **made, "packages": {**made["packages"], **document.get("packages", {})}}
        document["seconds"] = time.monotonic() - started
        result["parts"] = {**result["parts"], name: document}
        if args.output is not None:
            write_json(args.output, result)
        print(show(name, document), flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(PARTS), help="parts (default: all; real with --model alone)")
    parser.add_argument("--prepare", action="store_true", help="only write the models and the peers' files")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=25, help="turns of each runtime and shape, at most")
    parser.add_argument("--model", type=Path, help="a compressed file or model folder, for the part real")
    parser.add_argument("--work", type=Path, default=Path("runs/engine_bench"), help="keeps models and peers' files")
    parser.add_argument("--tiny", action="store_true", help="a tiny encoder in place of each, for a trial")
    parser.add_argument("--output", type=Path, help="JSON file; parts that are in it already and not run stay")
    args = parser.parse_args()
    if args.cases is None:
        args.cases = [name for name in PARTS if name != "real" or args.model is not None]
    if "real" in args.cases and args.model is None:
        parser.error("the part real needs --model")
    return args


if __name__ == "__main__":
    main()
