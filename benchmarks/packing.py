"""What the two forms of the compressed file make of full-size encoders: bytes against entropy, seconds, memory.

    python benchmarks/packing.py            # BERT-Base; minutes
    python benchmarks/packing.py --models base large
    python benchmarks/packing.py --layers 1 --sparsity 0.9
    python benchmarks/packing.py --folder RUN/quantize --output results/packing.json    # a real model besides

Weights are synthetic: Gaussian, the smallest pruned (as a model's are) or a random mask, which leaves small ones and so
more levels; int8 with absmax scales per channel or per tensor. The same integers, as
dense bytes, go through zlib and lzma of the standard library (one layer of them: lzma is slow, and layers are alike),
which is what one would do without this file format. All bytes are of the Linear weights in the transformer layers; the
file's size is the file system's. Packing runs in one thread, so its processor time is given too: it is what remains
comparable on a machine that does other work besides.
"""

import argparse
import itertools
import json
import lzma
import multiprocessing
import resource
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from provenance import provenance

from pruneofa.atomic import write_json
from pruneofa.checkpoint.decompress import decompress
from pruneofa.checkpoint.dtypes import DTYPES_BY_NAME
from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.checkpoint.int8 import grid_integers
from pruneofa.checkpoint.manifest import Manifest, write_manifest
from pruneofa.checkpoint.model_folder import ModelFolder
from pruneofa.checkpoint.safetensors_file import Section, write_sections
from pruneofa.checkpoint.writer import compress

FORMS = ("bitmask", "packed")
MODELS = {"base": (12, 768, 3072), "large": (24, 1024, 4096)}  # layers, hidden size, intermediate size
SCALES = ("per_channel", "per_tensor")
PRUNED = ("by_magnitude", "at_random")
PEERS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": lambda data: zlib.compress(data, 9),
    "lzma": lambda data: lzma.compress(data, preset=6),
}


def main() -> None:
    args = parse_arguments()
    rows: list[dict[str, Any]] = []
    for model, sparsity, pruned, granularity in itertools.product(args.models, args.sparsity, args.pruned, SCALES):
        rows += measure(model, sparsity, pruned, granularity, args.layers)
        for row in rows[-len(FORMS) :]:
            print_row(row, header=row is rows[0])
    for folder in args.folder:
        rows += measure_folder(folder)
        for row in rows[-len(FORMS) :]:
            print_row(row, header=row is rows[0])
    result = {"benchmark": "packing", **provenance(), "rows": rows}
    if args.output is not None:
        write_json(args.output, result)
    print(json.dumps(result))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Size, time and memory of compressed files of synthetic encoders.")
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.85, 0.9, 0.95])
    parser.add_argument("--layers", type=int, default=0, help="fewer layers than the model has, for a quick look")
    parser.add_argument("--folder", type=Path, nargs="*", default=[], help="int8 model folders, measured besides")
    parser.add_argument("--models", nargs="*", choices=[*MODELS], default=["base"], help="synthetic models")
    parser.add_argument("--pruned", nargs="*", choices=PRUNED, default=[*PRUNED], help="what the synthetic masks leave")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    return parser.parse_args()


def measure(model: str, sparsity: float, pruned: str, granularity: str, layers: int) -> list[dict[str, Any]]:
    """A row for each form, on one model, with the peers' sizes in both."""
    all_layers, hidden, intermediate = MODELS[model]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        folder.mkdir()
        peers = write_model(folder, layers or all_layers, hidden, intermediate, sparsity, pruned, granularity)
        return [
            {
                "model": model,
                "layers": layers or all_layers,
                "pruned": pruned,
                "weights": granularity,
                "form": form,
                **in_fresh_process(measure_form, folder, form),
                **peers,
            }
            for form in FORMS
        ]


def measure_folder(folder: Path) -> list[dict[str, Any]]:
    """A row for each form of a real int8 model, with the peers' sizes of its encoder's integers in both."""
    opened = ModelFolder(folder)
    manifest = opened.weight_names()
    integers = []
    for name in manifest.encoder_weights:
        scale, dtype = opened.scale(name), opened.info(name).dtype
        found = None if scale is None else grid_integers(opened.tensor(name), scale, dtype)
        if found is None:
            raise SystemExit(f"{folder}: {name} is not int8; give the folder of a quantized model")
        integers.append(found.tobytes())
    dense = b"".join(integers)
    peers = {f"{name}_bits_per_weight": 8 * len(peer(dense)) / len(dense) for name, peer in PEERS.items()}
    assert manifest.quantization is not None
    facts = {"model": folder.name, "weights": manifest.quantization["weight_granularity"]}
    with tempfile.TemporaryDirectory() as temporary:
        copy = shutil.copytree(folder, Path(temporary) / "model", ignore=shutil.ignore_patterns(".*"))
        return [{**facts, "form": form, **in_fresh_process(measure_form, copy, form), **peers} for form in FORMS]


def in_fresh_process(measure_one: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """Run it in a process of its own, whose peak of memory is that of this measurement alone."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure_one, *args).result()


def write_model(
    folder: Path, layers: int, hidden: int, intermediate: int, sparsity: float, pruned: str, granularity: str
) -> dict[str, float]:
    """Write an int8 model folder, a weight at a time in memory, and give the peers' bits to a weight."""
    shapes = [(f"attention.{name}", (hidden, hidden)) for name in ("query", "key", "value", "output")]
    shapes += [("intermediate", (intermediate, hidden)), ("output", (hidden, intermediate))]
    named = {f"layer.{i}.{name}.weight": shape for i in range(layers) for name, shape in shapes}
    float32 = DTYPES_BY_NAME["float32"]
    scales: dict[str, NDArray[np.float32]] = {}
    first_layer: list[bytes] = []

    def weight(seed: int, name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
        integers, scales[name] = synthetic(seed, shape, sparsity, pruned, granularity)
        if seed < len(shapes) and len(first_layer) == seed:
            first_layer.append(integers.tobytes())
        return integers.astype(np.float32) * scales[name][:, None]

    sections = [
        Section(name, float32, shape, lambda seed=seed, name=name, shape=shape: weight(seed, name, shape))
        for seed, (name, shape) in enumerate(named.items())
    ]
    with (folder / "model.safetensors").open("wb") as file:
        write_sections(file, sections, {"format": "pt"})
    with (folder / "quantization.safetensors").open("wb") as file:
        found = [
            Section(f"{name}_scale", float32, scale.shape, lambda scale=scale: scale) for name, scale in scales.items()
        ]
        write_sections(file, found, {})
    quantization = {"weight_granularity": granularity, "bits": 8, "activation": None}
    write_manifest(folder, Manifest("synthetic", tuple(named), quantization=quantization))
    dense = b"".join(first_layer)
    return {f"{name}_bits_per_weight": 8 * len(peer(dense)) / len(dense) for name, peer in PEERS.items()}


def synthetic(
    seed: int, shape: tuple[int, int], sparsity: float, pruned: str, granularity: str
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(q [R, C], scale [R] or [1]) of Gaussian weights of which the smallest, or any, are pruned."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(scale=0.04, size=shape).astype(np.float32)
    order = np.abs(weight) if pruned == "by_magnitude" else rng.random(shape)
    weight[order < np.quantile(order, sparsity)] = 0
    absmax = np.abs(weight).max(axis=1) if granularity == "per_channel" else np.abs(weight).max(keepdims=True)[0]
    scale = (absmax / np.float32(127)).astype(np.float32)
    return np.rint(weight / scale[:, None]).astype(np.int8), scale


def measure_form(folder: Path, form: str) -> dict[str, Any]:
    """Sizes, seconds and memory of one form; what comes back is compared byte for byte."""
    path, back = folder.parent / f"{form}.pofa", folder.parent / f"{form}.back"
    begin, processor = time.perf_counter(), time.process_time()
    compress(folder, path, form=form)
    packed, packed_processor = time.perf_counter(), time.process_time()
    decompress(path, back)
    unpacked, unpacked_processor = time.perf_counter(), time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for name in ("model.safetensors", "quantization.safetensors"):
        if (back / name).read_bytes() != (folder / name).read_bytes():
            raise RuntimeError(f"{form}: {name} does not come back as it was")
    found = inspect_model(path)
    coded = found.bytes_encoder - found.bytes_scales
    return {
        "sparsity": found.encoder_sparsity,
        "encoder_parameters": found.encoder_parameters,
        "bytes_file_system": path.stat().st_size,
        "bytes_encoder": found.bytes_encoder,
        "bytes_scales": found.bytes_scales,
        "entropy_bound_bytes": found.entropy_bound_bytes,
        "times_entropy": coded / found.entropy_bound_bytes,
        "bits_per_weight": 8 * found.bytes_encoder / found.encoder_parameters,
        "nominal_ratio": found.nominal_ratio,
        "real_ratio": found.real_ratio,
        "pack_seconds": packed - begin,
        "unpack_seconds": unpacked - packed,
        "pack_processor_seconds": packed_processor - processor,
        "unpack_processor_seconds": unpacked_processor - packed_processor,
        "peak_memory_bytes": peak,
    }


def print_row(row: dict[str, Any], *, header: bool) -> None:
    cells = {
        "model": row["model"],
        "sparsity": f"{row['sparsity']:.2f}",
        "pruned": row.get("pruned", "-"),
        "weights": row["weights"],
        "form": row["form"],
        "encoder MB": f"{row['bytes_encoder'] / 1e6:.2f}",
        "bits/weight": f"{row['bits_per_weight']:.3f}",
        "x entropy": f"{row['times_entropy']:.4f}",
        "nominal": f"{row['nominal_ratio']:.1f}X",
        "real": f"{row['real_ratio']:.1f}X",
        "zlib": f"{row['zlib_bits_per_weight']:.3f}",
        "lzma": f"{row['lzma_bits_per_weight']:.3f}",
        "pack s": f"{row['pack_seconds']:.1f}",
        "unpack s": f"{row['unpack_seconds']:.1f}",
        "CPU s": f"{row['pack_processor_seconds']:.1f}+{row['unpack_processor_seconds']:.1f}",
        "peak MB": f"{row['peak_memory_bytes'] / 1e6:.0f}",
    }
    if header:
        print("  ".join(f"{name:>11}" for name in cells), flush=True)
    print("  ".join(f"{cell:>11}" for cell in cells.values()), flush=True)


if __name__ == "__main__":
    main()
