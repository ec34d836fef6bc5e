"""Run trainings that SIGKILL themselves at a given point: `python killed_runs.py FOLDER`.

Each case runs in a process of its own, forked from this one so that torch is imported only once. Nothing of what a
program does when it ends (finally blocks, flushed buffers) happens in one that is killed.
"""

import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from training_runs import Points, make_trainer
from transformers import TrainerCallback

from pruneofa.training.trainer import checkpoints
from pruneofa.training.trainer.sparse_trainer import SparseTrainer

# Masks are selected anew at 2, 4, 6 and 8, checkpoints written at every even step, the log at 3, 6, 9, evaluation at 5
# and 10; epochs end at 4 and 8.
CASES: dict[str, tuple[str, Points]] = {
    "before the first checkpoint": ("prune", [("on_step_end", 1)]),
    "between two batches of a step": ("prune", [("on_substep_end", 2)]),
    "before the weights change": ("prune", [("on_pre_optimizer_step", 5)]),
    "just before masks are selected anew": ("prune", [("on_optimizer_step", 3)]),
    "just after masks were selected anew": ("prune", [("on_step_end", 4)]),
    "just after the masks were frozen": ("prune", [("on_step_end", 8)]),
    "while the optimizer's state is written": ("prune", [("optimizer.pt", 6)]),
    "before the manifest is written": ("prune", [("seal", 6)]),
    "before a checkpoint gets its name": ("prune", [("publish", 8)]),
    "before old checkpoints are dropped": ("prune", [("rotate", 8)]),
    "after a checkpoint, between two log lines": ("prune", [("on_save", 4)]),
    "while a line is logged": ("prune", [("on_log", 9)]),
    "while it is evaluated": ("prune", [("on_prediction_step", 5)]),
    "at the end of an epoch": ("prune", [("on_epoch_end", 4)]),
    "at the beginning of an epoch": ("prune", [("on_epoch_begin", 8)]),
    "after the last step": ("prune", [("on_train_end", 10)]),
    "again and again": ("prune", [("on_step_end", 3), ("seal", 4), ("on_substep_end", 5), ("on_save", 8)]),
    "a lock, within a step": ("lock", [("on_substep_end", 5)]),
    "a lock, while a checkpoint is written": ("lock", [("seal", 6)]),
    "int8, before observers are frozen": ("qat", [("on_substep_end", 4)]),
    "int8, when observers are frozen": ("qat", [("on_step_end", 5)]),
    "int8, after observers were frozen": ("qat", [("on_pre_optimizer_step", 7)]),
}


def arm(trainer: SparseTrainer, where: str, step: int) -> None:
    """Make `trainer` kill its own process at the point `where` of step `step`."""
    if where.startswith("on_"):
        trainer.add_callback(_Death(where, step))
    elif where == "optimizer.pt":
        trainer._save_optimizer_and_scheduler = _half_written(trainer, step)
    else:
        setattr(checkpoints, where, _deadly(trainer, step, getattr(checkpoints, where)))


class _Death(TrainerCallback):
    """Added last, so at any event all other callbacks have acted."""

    def __init__(self, event: str, step: int) -> None:
        setattr(self, event, lambda args, state, control, **kwargs: _die() if state.global_step == step else None)


def _deadly(trainer: SparseTrainer, step: int, function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: _die() if trainer.state.global_step == step else function(*args)


def _half_written(trainer: SparseTrainer, step: int) -> Callable[[str], None]:
    whole = trainer._save_optimizer_and_scheduler

    def save(output_dir: str) -> None:
        whole(output_dir)
        if trainer.state.global_step == step:
            path = Path(output_dir) / "optimizer.pt"
            os.truncate(path, path.stat().st_size // 2)
            _die()

    return save


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _train_until(kind: str, folder: Path, point: tuple[str, int]) -> int:
    """Signal that ended a process that trains in `folder` from where it stands until `point`; 0 for none."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    try:
        trainer = make_trainer(kind, folder)
        arm(trainer, *point)
        trainer.train(resume_from_checkpoint=True)
    finally:
        os._exit(1)


def main(folder: Path) -> None:
    """Run every case in a folder of its name below `folder`; signals go to signals.json."""
    torch.set_num_threads(1)
    os.fsync = lambda file: None  # the machine goes on: what was written is there, flushed or not
    gc.freeze()
    signals = {}
    for name, (kind, points) in CASES.items():
        signals[name] = [_train_until(kind, folder / name, point) for point in points]
    (folder / "signals.json").write_text(json.dumps(signals))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
