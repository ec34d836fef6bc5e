"""A report as a demo run would leave it."""

import math
import random

import pytest

from pruneofa.reporting.data import ModelRow, ReportData, StageTime, TensorSparsity, curves_from_log_history

ROLES = [
    ("attention.self.query", (384, 384)),
    ("attention.self.key", (384, 384)),
    ("attention.self.value", (384, 384)),
    ("attention.output.dense", (384, 384)),
    ("intermediate.dense", (1536, 384)),
    ("output.dense", (384, 1536)),
]


def _rate(stage: str, step: int, total: int) -> float:
    if stage != "prune":
        return 5e-5 * min(step / 40, (total - step) / (total - 40))
    interval = 40
    if step < interval:
        return 1e-4 * step / interval
    if step < total * 0.7:
        return 1e-4 * (1 - (step % interval) / interval * 0.5)
    return 1e-4 * (total - step) / (0.3 * total)


def _history(stage: str, total: int) -> list[dict[str, float]]:
    noise = random.Random(stage)
    start, end = (5.2, 3.6) if stage in ("teach", "prune") else (0.7, 0.35)
    history: list[dict[str, float]] = []
    for step in range(2, total + 1, 2):
        fall = end + (start - end) * math.exp(-4 * step / total)
        entry = {"loss": fall + noise.gauss(0, 0.05), "learning_rate": _rate(stage, step, total), "grad_norm": 1.0}
        if stage != "teach":
            entry["loss/task"] = fall * 1.2 + noise.gauss(0, 0.06)
            entry["loss/distillation"] = fall * 0.7 + noise.gauss(0, 0.04)
        if stage == "prune":
            progress = min(1.0, step / (0.7 * total))
            entry["sparsity/target"] = 0.85 * (1 - (1 - progress) ** 3)
            held = min(1.0, step // 40 * 40 / (0.7 * total))
            entry["sparsity/actual"] = 0.85 * (1 - (1 - held) ** 3)
        history.append({**entry, "step": step, "epoch": step / total})
        if step % (total // 8 * 2) == 0:
            entry = {"eval_loss": fall + 0.08, "eval_runtime": 3.1}
            if stage not in ("teach", "prune"):
                entry["eval_accuracy"] = 0.8 - 0.1 * math.exp(-4 * step / total)
            history.append({**entry, "step": step})
    return [*history, {"train_runtime": 12.0, "train_loss": end, "step": total}]


def realistic_report(seed: int = 0) -> ReportData:
    noise = random.Random(seed)
    tensors = []
    for layer in range(6):
        for role, shape in ROLES:
            size = shape[0] * shape[1]
            nonzero = size - int(size * min(0.96, max(0.62, noise.gauss(0.85, 0.06) - 0.01 * layer)))
            name = f"bert.encoder.layer.{layer}.{role}.weight"
            tensors.append(TensorSparsity(name, shape, nonzero, size, 1 - nonzero / size))
    tensors.append(TensorSparsity("bert.pooler.dense.weight", (384, 384), 147456, 147456, 0.0))
    parameters = 10_616_832
    other = 48_300_000
    rows = [
        ModelRow("dense", {"eval_accuracy": 0.8304}, 0.0, parameters, 42_467_328, 90_800_000, 1.0, 1.0, "finetune"),
        ModelRow(
            "sparse", {"eval_accuracy": 0.8121}, 0.85, parameters, 7_697_203, 7_697_203 + other, 6.67, 5.52,
            "transfer", "pattern locked",
        ),
        ModelRow(
            "sparse int8", {"eval_accuracy": 0.7994}, 0.85, parameters, 3_121_000, 3_121_000 + other, 26.67, 13.6,
            "model.pofa", "per channel, opened again from the file",
        ),
    ]  # fmt: skip
    stages = [("corpus", 8.2, "done"), ("teach", 251.0, "done"), ("prune", 431.4, "done"), ("finetune", 152.0, "done")]
    stages += [("transfer", 190.2, "done"), ("quantize", 71.0, "done"), ("evaluate", 15.5, "skipped")]
    steps = {"teach": 480, "prune": 800, "finetune": 640, "transfer": 640, "quantize": 320}
    return ReportData(
        title="demo: MiniLM-L6, fresh or rotten",
        rows=rows,
        curves=[curves_from_log_history(stage, _history(stage, total)) for stage, total in steps.items()],
        tensors=tensors,
        facts={
            "machine": "Intel Xeon Platinum 8488C, 2 cores, AVX-512 VNNI, AMX",
            "software": "pruneofa 0.1.0, torch 2.13.0+cpu, transformers 5.23.0",
            "corpus": "427,000 tokens of film plots and training reviews",
            "task": "1,912 reviews of films that no stage has seen",
            "seed": "42",
        },
        stages=[StageTime(*stage) for stage in stages],
        recipe_yaml="# pruneofa run demo\nmodel_name_or_path: minilm\nsparsity:\n  target_sparsity: 0.85\n",
        notes=["Accuracy of one seed; the spread over three seeds is in the results folder."],
    )


@pytest.fixture(scope="session")
def report() -> ReportData:
    return realistic_report()
