"""Kill a pruning run with SIGKILL at random moments, resume it, and compare it with one that was never killed.

    python benchmarks/endurance.py --kills 20 --output results/endurance.json

Every run is the stage `prune` in a process of its own. Moments are drawn within a phase: an optimizer step, a
re-selection of the masks, the writing of a checkpoint, or anywhere in training. The process tells when it enters the
phase that was drawn, waits at its end, and is killed after a random share of the time that the phase took in the run
that was not killed; so it dies within it, whatever else the machine does. Of every fifth run the newest checkpoint is
altered too before it is resumed. Final weights, masks, Adam's moments, and the log with learning rates and losses must
be the same, bit for bit.
"""

import argparse
import hashlib
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from provenance import provenance
from transformers import Trainer  # noqa: F401  (imported before any process is forked)

from pruneofa.atomic import write_json
from pruneofa.recipe.document import Recipe
from pruneofa.recipe.files import recipe_with
from pruneofa.sparsity.pruner import Pruner
from pruneofa.stage_folder import CHECKPOINTS_FOLDER, STATE_FOLDER, load_log
from pruneofa.training.trainer import checkpoints
from pruneofa.training.trainer.callback import SparseTrainingCallback
from pruneofa.training.trainer.sparse_trainer import SparseTrainer
from pruneofa.workflow.execution import execute
from pruneofa.workflow.stage_list import STAGES

PHASES = ("step", "re-selection", "checkpoint", "anywhere")
DAMAGE_EVERY = 5
COMPARED = ("weights", "masks", "moments", "rates", "losses")
_LONGEST_WAIT = 600.0  # seconds until a process that tells nothing counts as stuck


@dataclass
class Kill:
    """One run that was killed and resumed.

    Attributes:
        phase: in which it was killed.
        step: optimizer step of the phase; 0 for "anywhere".
        after_ms: time between entering the phase and the kill.
        phase_ms: what the phase took in the run that was not killed.
        at_end: the phase was over and the process waited at its end.
        half_written: a checkpoint was being written at that moment.
        damaged: the newest checkpoint was altered afterwards.
        resumed_from: step of the checkpoint from which it went on; None from the start.
        identical: for each of `COMPARED`, whether it ended the same.
    """

    phase: str
    step: int
    after_ms: float
    phase_ms: float
    at_end: bool = False
    half_written: bool = False
    damaged: bool = False
    resumed_from: int | None = None
    identical: dict[str, bool] | None = None


class Bench:
    """Recipe, inputs and folders of the runs."""

    def __init__(self, args: argparse.Namespace, work_dir: Path) -> None:
        self.args = args
        self.work_dir = work_dir
        self.recipe = recipe_for(args)
        self.inputs = {"dense": args.model_name_or_path, "corpus": str(work_dir / "corpus")}

    def build_corpus(self) -> None:
        """In a process of its own, so that this one stays as it was imported."""
        model = {"model": self.args.model_name_or_path}
        child = fork(
            lambda: execute(STAGES["corpus"], self.recipe, model, self.work_dir / "corpus"), self.log("corpus")
        )
        finish(child, self.log("corpus"))

    def log(self, name: str) -> Path:
        """Where the messages of a run go."""
        return self.work_dir / f"{name}.log"

    def folder(self, name: str) -> Path:
        """Where a run goes."""
        return self.work_dir / name

    def start(self, name: str, wanted: tuple[str, int] | None) -> tuple[int, int]:
        """Process and the end of a pipe in which it tells of its phases: of all, or of the one that is wanted."""
        reading, writing = os.pipe()

        def run() -> None:
            os.close(reading)
            torch.set_num_threads(1)
            watch_phases(writing, wanted, self.folder(f"{name}.json"))
            execute(STAGES["prune"], self.recipe, self.inputs, self.folder(name))

        child = fork(run, self.log(name))
        os.close(writing)
        return child, reading

    def run_to_end(self, name: str) -> list[dict[str, Any]]:
        """What a run told of its phases; it ends well, or this program does not."""
        child, pipe = self.start(name, None)
        told = b""
        while part := os.read(pipe, 65_536):
            told += part
        os.close(pipe)
        finish(child, self.log(name))
        return [json.loads(line) for line in told.splitlines()]

    def outcome(self, name: str) -> dict[str, Any]:
        """What a finished run ended with."""
        folder = self.folder(name)
        state = json.loads(self.folder(f"{name}.json").read_text(encoding="utf-8"))
        timed = ("runtime", "per_second")
        log = [{key: value for key, value in entry.items() if not key.endswith(timed)} for entry in load_log(folder)]
        return {
            "weights": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
            "masks": state["masks"],
            "moments": state["moments"],
            "rates": [entry.get("learning_rate") for entry in log],
            "losses": log,
        }


def main() -> None:
    args = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="pruneofa-endurance-") as temporary:
        result = measure(args, Path(temporary))
    if args.output is not None:
        write_json(args.output, result)
    print_table(result)
    print(json.dumps(result))
    sys.exit(0 if result["identical"] == args.kills else 1)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill and resume a pruning run; it must end as if nothing had been.")
    parser.add_argument("--kills", type=int, default=20, help="runs, each killed once and resumed")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--model_name_or_path", default="package:cognition/model", help="default: BERT-tiny")
    parser.add_argument("--train_file", default="rotten_tomatoes:corpus", help="text of the corpus")
    parser.add_argument("--max_length", type=int, default=64, help="tokens of an example")
    parser.add_argument("--per_device_train_batch_size", type=int, default=4)
    parser.add_argument("--max_steps", type=int, default=60, help="optimizer steps of a run")
    parser.add_argument("--save_steps", type=int, default=10)
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    return parser.parse_args()


def recipe_for(args: argparse.Namespace) -> Recipe:
    """Two batches a step, a cut every five, the masks at rest for the last fifth."""
    steps = args.max_steps
    settings = {
        "model.name_or_path": args.model_name_or_path,
        "corpus": {"source": args.train_file, "max_length": args.max_length},
        "prune.training": {
            "max_steps": steps,
            "per_device_train_batch_size": args.per_device_train_batch_size,
            "gradient_accumulation_steps": 2,
            "learning_rate": 1e-3,
            "lr_scheduler_type": "rewinding",
            "warmup_ratio": 0.05,
            "precision": "float32",
            "logging_steps": 3,
            "eval_steps": args.save_steps,
            "save_steps": args.save_steps,
        },
        "prune.sparsity": {
            "target_sparsity": 0.85,
            "end_step": steps * 3 // 5,
            "update_every": 5,
            "freeze_step": steps * 4 // 5,
        },
        "prune.distillation": {"tokens": "masked"},
    }
    return recipe_with(None, settings, default_name="endurance")


def measure(args: argparse.Namespace, work_dir: Path) -> dict[str, Any]:
    bench = Bench(args, work_dir)
    bench.build_corpus()
    seconds = phase_seconds(bench.run_to_end("whole"))
    expected = bench.outcome("whole")
    chooser = random.Random(args.seed)
    kills = []
    for number in range(args.kills):
        phase = PHASES[number % len(PHASES)]
        step, duration = chooser.choice(sorted(seconds[phase].items()))
        kill = Kill(phase, step, 1000 * chooser.uniform(0.0, duration), 1000 * duration)
        name = f"run-{number}"
        kill_within(bench, name, kill)
        if number % DAMAGE_EVERY == DAMAGE_EVERY - 1:
            kill.damaged = damage_newest(bench.folder(name))
        told = bench.run_to_end(name)
        kill.resumed_from = next(entry["step"] for entry in told if entry["phase"] == "resumed")
        found = bench.outcome(name)
        kill.identical = {what: found[what] == expected[what] for what in COMPARED}
        shutil.rmtree(bench.folder(name))
        kills.append(kill)
    return {
        "benchmark": "endurance",
        **provenance(),
        "model": args.model_name_or_path,
        "steps": args.max_steps,
        "checkpoints_every": args.save_steps,
        "final_sparsity": expected["losses"][-1].get("sparsity/actual", last_sparsity(expected["losses"])),
        "kills": len(kills),
        "identical": sum(all((kill.identical or {}).values()) for kill in kills),
        "runs": [asdict(kill) for kill in kills],
    }


def last_sparsity(log: list[dict[str, Any]]) -> float | None:
    return next((entry["sparsity/actual"] for entry in reversed(log) if "sparsity/actual" in entry), None)


def fork(call: Callable[[], Any], log: Path) -> int:
    """A process that does `call`, its messages in `log`; it ends with 0 when that ends well."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        with log.open("a", encoding="utf-8") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        call()
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def finish(child: int, log: Path) -> None:
    """Wait for a process that must end well."""
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"a run that nobody killed ended with status {status}:\n{log.read_text(encoding='utf-8')}")


def watch_phases(pipe: int, wanted: tuple[str, int] | None, state: Path) -> None:
    """In the process of a run: tell of its phases, and wait for death at the end of the one that is wanted."""

    def tell(event: str, phase: str, step: int | None) -> None:
        if wanted is not None and (phase, step) != wanted:
            return
        entry = {"event": event, "phase": phase, "step": step, "time": time.monotonic()}
        os.write(pipe, json.dumps(entry).encode() + b"\n")
        if wanted is not None and event == "leave":
            time.sleep(_LONGEST_WAIT)

    training_step, chosen = SparseTrainer.training_step, SparseTrainer._choose_checkpoint
    step_end, finalize = SparseTrainingCallback.on_step_end, SparseTrainer.finish_training
    begin = SparseTrainingCallback.on_train_begin

    def told_step(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        if trainer.batches_of_step == 0:
            tell("enter", "step", trainer.state.global_step + 1)
        return training_step(trainer, *args, **kwargs)

    def told_step_end(callback: Any, args: Any, state: Any, *rest: Any, **kwargs: Any) -> Any:
        tell("leave", "step", state.global_step)
        return step_end(callback, args, state, *rest, **kwargs)

    def told_begin(*args: Any, **kwargs: Any) -> Any:
        tell("enter", "anywhere", 0)
        return begin(*args, **kwargs)

    def told_end(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        tell("leave", "anywhere", 0)
        write_json(state, final_state(trainer))
        return finalize(trainer, *args, **kwargs)

    def told_choice(trainer: Any, resume: Any) -> Any:
        found = chosen(trainer, resume)
        tell("enter", "resumed", None if found is None else int(found.name.rpartition("-")[2]))
        return found

    def bracketed(owner: Any, name: str, phase: str, step_of: Callable[[Any], int]) -> None:
        inner = getattr(owner, name)

        def told(self: Any, *args: Any, **kwargs: Any) -> Any:
            tell("enter", phase, step_of(self))
            result = inner(self, *args, **kwargs)
            tell("leave", phase, step_of(self))
            return result

        setattr(owner, name, told)

    bracketed(Pruner, "_reselect", "re-selection", lambda pruner: pruner.completed_steps)
    bracketed(SparseTrainer, "write_checkpoint", "checkpoint", lambda trainer: trainer.state.global_step)
    replaced = {
        SparseTrainer: {
            "training_step": told_step,
            "_choose_checkpoint": told_choice,
            "finish_training": told_end,
        },
        SparseTrainingCallback: {"on_step_end": told_step_end, "on_train_begin": told_begin},
    }
    for owner, functions in replaced.items():
        for name, function in functions.items():
            setattr(owner, name, function)


def final_state(trainer: Any) -> dict[str, str]:
    """Digests of what no file of a finished stage holds: the pruner's own masks, and the optimizer's moments."""
    digest = hashlib.sha256()
    for state in trainer.optimizer.state_dict()["state"].values():
        for name in sorted(state):
            digest.update(torch.as_tensor(state[name]).numpy().tobytes())
    return {"masks": trainer.pruner.masks.digest(), "moments": digest.hexdigest()}


def phase_seconds(told: list[dict[str, Any]]) -> dict[str, dict[int, float]]:
    """Phase -> step -> seconds."""
    entered: dict[tuple[str, int], float] = {}
    seconds: dict[str, dict[int, float]] = {phase: {} for phase in PHASES}
    for entry in told:
        key = (entry["phase"], entry["step"])
        if entry["event"] == "enter":
            entered[key] = entry["time"]
        else:
            seconds[key[0]][key[1]] = entry["time"] - entered[key]
    return seconds


def kill_within(bench: Bench, name: str, kill: Kill) -> None:
    """Start a run and kill it within the phase that `kill` says, after the time that it says."""
    child, pipe = bench.start(name, (kill.phase, kill.step))
    if not told_within(pipe, _LONGEST_WAIT):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise SystemExit(f"{name} never came to {kill.phase} {kill.step}:\n{bench.log(name).read_text()}")
    entered = time.monotonic()
    time.sleep(kill.after_ms / 1000)
    os.kill(child, signal.SIGKILL)
    kill.after_ms = 1000 * (time.monotonic() - entered)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        raise SystemExit(f"{name} ended by itself, with status {status}:\n{bench.log(name).read_text()}")
    kill.at_end = told_within(pipe, 0.0)
    os.close(pipe)
    run = bench.folder(name) / STATE_FOLDER / CHECKPOINTS_FOLDER
    kill.half_written = any(run.glob(f"{checkpoints.STAGING_PREFIX}*"))


def told_within(pipe: int, seconds: float) -> bool:
    """Whether something comes out of the pipe, which is read; the end of it is nothing."""
    readable, _, _ = select.select([pipe], [], [], seconds)
    return bool(readable) and bool(os.read(pipe, 4096))


def damage_newest(folder: Path) -> bool:
    """Alter one byte of the newest checkpoint's model; False where there is no earlier one to fall back on."""
    found = checkpoints.checkpoints(folder / STATE_FOLDER / CHECKPOINTS_FOLDER)
    if len(found) < 2:
        return False
    with (found[0] / "model.safetensors").open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    return True


def print_table(result: dict[str, Any]) -> None:
    print(f"{'phase':<14}{'step':>5}{'killed after':>15}{'of':>9}  {'resumed from':<14}{'notes':<32}same")
    for run in result["runs"]:
        notes = [note for key, note in _NOTES.items() if run[key]]
        differing = [what for what, same in run["identical"].items() if not same]
        print(
            f"{run['phase']:<14}{run['step'] or '-':>5}{run['after_ms']:>12.1f} ms{run['phase_ms']:>6.0f} ms  "
            f"{'start' if run['resumed_from'] is None else 'step ' + str(run['resumed_from']):<14}"
            f"{', '.join(notes):<32}{'yes' if not differing else 'no: ' + ', '.join(differing)}"
        )
    print(f"{result['identical']} of {result['kills']} runs ended bit-identical: {', '.join(COMPARED)}")


_NOTES = {"half_written": "half-written", "damaged": "newest altered", "at_end": "at its end"}


if __name__ == "__main__":
    main()
