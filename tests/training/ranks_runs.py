"""Runs of one process and of several that must come to the same, and what is compared of them."""

import hashlib
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from training_runs import TRAINING, Blocks, parts

from pruneofa.sparsity.pruner import Pruner
from pruneofa.training import session
from pruneofa.training.run import Examples, TrainingRun

STEPS, SAVED, WHOLE_BATCH = 8, 4, 8
KINDS = ("prune", "qat")


class BrokenOffError(Exception):
    """Stands for whatever ends a run before its time."""


def train(
    kind: str, folder: Path, ranks: int, *, dropout: float = 0.0, stop_at: int | None = None, fsdp: bool = False
) -> dict[str, Any]:
    """Train, or go on from what is in `folder`, with batches of `WHOLE_BATCH` over all ranks.

    Args:
        kind: see `training_runs.parts`.
        folder: holds the checkpoints.
        ranks: what `per_device_train_batch_size` is chosen for.
        dropout: of the model.
        stop_at: break the run off in this step.
        fsdp: split the model over the ranks.
    """
    made = parts(kind, dropout)
    objective, pruner = made["objective"], made["pruner"]
    if stop_at is not None:
        objective = _Stopping(objective, stop_at)
    settings = TRAINING.model_copy(
        update={
            "max_steps": STEPS,
            "per_device_train_batch_size": WHOLE_BATCH // ranks,
            "save_steps": SAVED,
            "lr_scheduler_type": "rewinding" if kind == "prune" else "linear",
            "logging_steps": 3,
            "eval_steps": None,
            "fsdp": fsdp,
        }
    )
    try:
        log = session.train_model(
            made["model"],
            objective,
            settings,
            Examples(made["train_dataset"], 0, Blocks(5, seed=9) if kind == "prune" else None),
            TrainingRun(kind, folder, 5),
            pruner=pruner,
            freeze_observers_step=6 if kind == "qat" else None,
        )
    except BrokenOffError:
        return {}
    timed = ("runtime", "per_second")
    return {
        "weights": {name: value.clone() for name, value in made["model"].state_dict().items()},
        "masks": {name: pruner.masks[name].clone() for name in pruner.masks},
        "log": [{name: value for name, value in entry.items() if not name.endswith(timed)} for entry in log],
        "digest": digest(made["model"]),
        "sparsity": pruner.sparsity,
    }


class _Stopping:
    """An objective that breaks off before a step."""

    def __init__(self, objective: Any, step: int) -> None:
        self._objective = objective
        self._left = TRAINING.gradient_accumulation_steps * (step - 1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objective, name)

    def __call__(self, model: Any, batch: Any, totals: Any = None) -> Any:
        self._left -= model.training
        if self._left < 0:
            raise BrokenOffError
        return self._objective(model, batch, totals)


def digest(model: torch.nn.Module) -> str:
    """Of all bytes of weights and buffers."""
    state = hashlib.sha256()
    for value in model.state_dict().values():
        state.update(value.detach().contiguous().numpy().tobytes())
    return state.hexdigest()


def on_ranks(rank: int, folder: Path) -> dict[str, Any]:
    """Everything that two processes do; `folder/one` holds what one process broke off."""
    ranks = dist.get_world_size()
    found = {kind: train(kind, folder / kind, ranks) for kind in KINDS}
    found["continued"] = train("prune", folder / "one", ranks)
    train("prune", folder / "two", ranks, stop_at=SAVED + 1)
    found["dropout"] = train("prune", folder / "dropout", ranks, dropout=0.2)
    train("prune", folder / "killed", ranks, dropout=0.2, stop_at=SAVED + 2)
    found["resumed"] = train("prune", folder / "killed", ranks, dropout=0.2)
    found["files"] = sorted(path.name for path in (folder / "two" / f"checkpoint-{SAVED}").iterdir())
    return found


def on_shards(rank: int, folder: Path) -> dict[str, Any]:
    """The same by FSDP2."""
    ranks = dist.get_world_size()
    sharded: list[bool] = []
    attach = Pruner.attach

    def recording(pruner: Pruner, optimizer: Any) -> None:
        sharded.append(all(isinstance(parameter, DTensor) for parameter in pruner.model.parameters()))
        attach(pruner, optimizer)

    Pruner.attach = recording  # type: ignore[method-assign]
    found = {
        "prune": train("prune", folder / "sharded", ranks, fsdp=True),
        "continued": train("prune", folder / "whole", ranks, fsdp=True),
    }
    train("prune", folder / "parted", ranks, stop_at=SAVED + 1, fsdp=True)
    assert sharded == [True, True, True]
    return found
