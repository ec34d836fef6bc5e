"""One model on the engine and on its peers, in one run: the document of `pruneofa bench`."""

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pruneofa import machine
from pruneofa.benchmarking.competition import compete
from pruneofa.benchmarking.config import BenchConfig
from pruneofa.benchmarking.contestants import Contestant
from pruneofa.benchmarking.forms import prepare_model
from pruneofa.benchmarking.peers import require_peers
from pruneofa.benchmarking.verdict import verdict
from pruneofa.engine.native import active_kernel

__all__ = ["bench_model", "kept_files"]


def bench_model(
    path: str,
    config: BenchConfig,
    *,
    work_dir: Path | None = None,
    name: str | None = None,
    kernel: str | None = None,
    beside: Sequence[Contestant] = (),
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Time a model on the engine and on the peers.

    Args:
        path: A compressed file or a model folder.
        config: Shapes, threads, peers, repeats.
        work_dir: Keeps the peers' files for the next time; None: they go when it is done.
        name: Of the model, in the document.
        kernel: The engine's kernel set; None: the best.
        beside: Further contestants, of other models.
        progress: Called after each shape with the document as far as it is there.

    Returns:
        The document: `model`, `settings`, `machine`, `packages`, `kernel`, `loads`, `cases`, `faults`, `verdict`.

    Raises:
        CheckpointError: The model is missing or damaged.
        ConfigurationError: A peer is not installed, a length is beyond the model's, or its head is unknown.
        EngineError: The engine's compiled part is missing, or the engine can't run the model.
    """
    active_kernel(kernel)
    require_peers(config.peers)
    if work_dir is None:
        with tempfile.TemporaryDirectory() as folder:
            return bench_model(
                path, config, work_dir=Path(folder), name=name, kernel=kernel, beside=beside, progress=progress
            )
    prepared = prepare_model(path, config.peers, work_dir, name=name, kernel=kernel)

    def document_of(found: dict[str, Any]) -> dict[str, Any]:
        document: dict[str, Any] = {
            "benchmark": "bench",
            "model": prepared.description,
            "settings": config.model_dump(mode="json"),
            "machine": machine.describe(),
            "packages": {**machine.package_versions(), **_versions(found["loads"])},
            "kernel": next(row["facts"]["kernel"] for row in found["loads"] if "kernel" in row["facts"]),
            **found,
        }
        _add_rates(document)
        document["verdict"] = verdict(document)
        return document

    def tell(found: dict[str, Any]) -> None:
        if progress is not None:
            progress(document_of(found))

    return document_of(compete((*prepared.contestants, *beside), prepared.facts, config, tell))


def kept_files(work_dir: Path, path: str) -> Path:
    """The folder in `work_dir` where a model's files for the peers are kept, named by the model's content.

    Args:
        work_dir: For any number of models.
        path: A compressed file or a model folder.
    """
    digest = hashlib.sha256()
    files = [Path(path)] if Path(path).is_file() else sorted(file for file in Path(path).rglob("*") if file.is_file())
    for file in files:
        digest.update(f"{file.relative_to(path)}\0".encode())
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return work_dir / digest.hexdigest()[:16]


def _add_rates(document: dict[str, Any]) -> None:
    """Add the engine's rates to its rows: products a second that it did, and that a dense model would have taken."""
    model = document["model"]
    for case in document["cases"]:
        tokens = case["batch"] * case["length"]
        pairs = tokens * case["length"]
        attention = pairs * model["products_per_pair_of_tokens"]
        done = tokens * model["nonzero_products_per_token"] + attention
        first = model["first_tokens_only"]
        if first is not None:
            done -= (tokens - case["batch"]) * first["nonzero_products_per_token"]
            done -= (pairs - tokens) * first["products_per_pair_of_tokens"]
        row = case["rows"][0]
        row["actual_products_per_second"] = done / row["median_seconds"]
        row["dense_equivalent_products_per_second"] = (tokens * model["products_per_token"] + attention) / row[
            "median_seconds"
        ]


def _versions(loads: list[Mapping[str, Any]]) -> dict[str, str]:
    return {row["name"]: row["facts"]["version"] for row in loads if "version" in row["facts"]}
