"""What building a corpus costs beside the tokenizer alone: time on the same text and cores, and memory as text grows.

    python benchmarks/corpus.py --data-dir ../shared/data                  # minutes, on a quiet machine
    python benchmarks/corpus.py --data-dir ../shared/data --megabytes 10 --rounds 2 --forms pairs

The text is that of `wiki_en_2015` (JSON lines in .xz, read anew by every build). The peer is the fast tokenizer's own
`encode_batch_fast` over documents that lie in memory already, one thread for each core, its result thrown away. Both
run in fresh processes and take turns; a build's time is that of the whole call, with its worker processes' start.
Memory is the peak of the parent plus, for each worker, the peak of the largest one.
"""

import argparse
import json
import lzma
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from provenance import provenance

from pruneofa.atomic import write_json
from pruneofa.cores import usable_cores
from pruneofa.data.sources.packaged import resolve_model

FILES = ("train.jsonl.xz", "train_2.jsonl.xz")
FORMS = ("blocks", "pairs", "sentences")
PEER_BATCH = 100  # documents
MEGABYTE = 10**6


def main() -> None:
    args = parse_arguments()
    files = [args.data_dir / "wiki_en_2015" / name for name in FILES]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        text = sample(files, args.megabytes * MEGABYTE, folder / "text.jsonl.xz")
        rows = measure_time(args, text, folder)
        memory = [] if args.no_memory else measure_memory(args, files, folder)
    result = {
        "benchmark": "corpus",
        **provenance(),
        "processes": args.num_proc,
        "megabytes": args.megabytes,
        "rounds": args.rounds,
        "max_length": args.max_length,
        "shard_characters": args.shard_characters,
        "rows": rows,
        "memory": memory,
    }
    if args.output is not None:
        write_json(args.output, result)
    print_table(result)
    print(json.dumps(result))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time and memory of building a corpus, beside the bare tokenizer.")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder that holds wiki_en_2015")
    parser.add_argument("--model", default="package:cognition/model", help="model whose tokenizer is used")
    parser.add_argument("--megabytes", type=float, default=90, help="text to time")
    parser.add_argument("--memory_megabytes", type=float, default=240, help="most text to look at the memory with")
    parser.add_argument("--no_memory", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--max_length", type=int, default=128)
    parser.add_argument("--shard_characters", type=int, default=8_000_000)
    parser.add_argument("--num_proc", type=int, default=usable_cores())
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    return parser.parse_args()


def sample(files: list[Path], size: float, path: Path) -> Path:
    """The first documents of the files, until they hold `size` bytes, as one compressed file."""
    with lzma.open(path, "wb", preset=1) as out:
        for line in lines(files):
            out.write(line)
            size -= len(line)
            if size <= 0:
                return path
    raise SystemExit(f"{', '.join(map(str, files))} hold less text than asked for; lower --megabytes")


def lines(files: list[Path]) -> Iterator[bytes]:
    for file in files:
        with lzma.open(file, "rb") as opened:
            yield from opened


def measure_time(args: argparse.Namespace, text: Path, folder: Path) -> list[dict[str, Any]]:
    """For each form, medians over rounds in which the peer and the build take turns."""
    rows = []
    for form in args.forms:
        peers: list[dict[str, Any]] = []
        builds: list[dict[str, Any]] = []
        for index in range(args.rounds):
            turns: list[tuple[list[Any], Callable[..., Any], tuple[Any, ...]]] = [
                (peers, tokenize, (args.model, text, args.num_proc)),
                (builds, build, (args, text, folder, form)),
            ]
            for results, function, arguments in turns if index % 2 == 0 else turns[::-1]:
                results.append(in_fresh_process(function, *arguments))
        shares = [built["seconds"].get("split_sentences", 0.0) / work_of(built) for built in builds]
        ratios = [built["wall"] / peer["wall"] for built, peer in zip(builds, peers, strict=True)]
        rows.append(
            {
                "form": form,
                "tokens": builds[0]["tokens"],
                "examples": builds[0]["examples"],
                "tokenizer_seconds": statistics.median(peer["wall"] for peer in peers),
                "seconds": statistics.median(built["wall"] for built in builds),
                "ratio": statistics.median(ratios),
                "ratios": ratios,
                "sentence_splitting_share": statistics.median(shares),
                "steps": {step: seconds for step, seconds in builds[0]["seconds"].items() if step != "elapsed"},
            }
        )
    return rows


def work_of(built: dict[str, Any]) -> float:
    return float(sum(seconds for step, seconds in built["seconds"].items() if step != "elapsed"))


def measure_memory(args: argparse.Namespace, files: list[Path], folder: Path) -> list[dict[str, Any]]:
    """Peaks of a build of a tenth of the text, and of all of it."""
    rows = []
    for megabytes in (args.memory_megabytes / 10, args.memory_megabytes):
        text = sample(files, megabytes * MEGABYTE, folder / "memory.jsonl.xz")
        for form in args.forms:
            built = in_fresh_process(build, args, text, folder, form)
            rows.append({"megabytes": megabytes, "form": form, **{k: built[k] for k in ("parent", "worker", "peak")}})
    return rows


def tokenize(model: str, text: Path, threads: int) -> dict[str, Any]:
    """Seconds of the tokenizer alone over all documents."""
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(resolve_model(model)) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    documents = [json.loads(line)["text"] for line in lines([text])]
    began = time.perf_counter()
    for begin in range(0, len(documents), PEER_BATCH):
        tokenizer.encode_batch_fast(documents[begin : begin + PEER_BATCH], add_special_tokens=False)
    return {"wall": time.perf_counter() - began}


def build(args: argparse.Namespace, text: Path, folder: Path, form: str) -> dict[str, Any]:
    """Seconds and memory of a whole build."""
    from transformers import AutoTokenizer

    from pruneofa.data.pretraining.corpus import CorpusConfig, build_corpus

    tokenizer = AutoTokenizer.from_pretrained(resolve_model(args.model))
    config = CorpusConfig(
        source=str(text), form=form, max_length=args.max_length, shard_characters=args.shard_characters
    )
    began = time.perf_counter()
    built = build_corpus(config, tokenizer, folder / "corpus", processes=args.num_proc)
    wall = time.perf_counter() - began
    parent = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    times = json.loads((folder / "corpus" / "times.json").read_text(encoding="utf-8"))
    return {
        "wall": wall,
        "seconds": times["seconds"],
        "tokens": built["tokens"],
        "examples": built["train"]["examples"],
        "parent": parent,
        "worker": worker,
        "peak": parent + args.num_proc * worker,
    }


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call in a process of its own, so that peaks and thread pools are that call's."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def print_table(result: dict[str, Any]) -> None:
    print(f"{result['megabytes']} MB of text, {result['processes']} processes, {result['rounds']} rounds, medians")
    print(f"{'form':<12}{'tokens':>12}{'tokenizer s':>13}{'build s':>10}{'ratio':>8}{'splitting':>11}")
    for row in result["rows"]:
        print(
            f"{row['form']:<12}{row['tokens']:>12,}{row['tokenizer_seconds']:>13.2f}{row['seconds']:>10.2f}"
            f"{row['ratio']:>8.2f}{row['sentence_splitting_share']:>11.1%}"
        )
    for row in result["memory"]:
        parts = ", ".join(f"{name} {row[name] / MEGABYTE:,.0f} MB" for name in ("parent", "worker", "peak"))
        print(f"memory at {row['megabytes']:g} MB, {row['form']}: {parts}")


if __name__ == "__main__":
    main()
