"""A Trainer of one or several processes, whose checkpoints any other number of processes can go on from."""

import json
import logging
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from accelerate.data_loader import prepare_data_loader
from safetensors.torch import load_file
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.utils.data import DataLoader
from transformers import set_seed

from pruneofa.atomic import write_json
from pruneofa.data.batches.sharing import RankBatchSampler
from pruneofa.errors import CheckpointError
from pruneofa.sparsity.masks import unwrap
from pruneofa.training.trainer.best import BestCheckpointTrainer
from pruneofa.training.trainer.fsdp import is_split, shard

logger = logging.getLogger(__name__)

_OPTIMIZER_NAME = "optimizer.pt"
_SCHEDULER_NAME = "scheduler.pt"
_WEIGHTS_NAME = "model.safetensors"
_RANKS_NAME = "ranks.json"
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class DistributedTrainer(BestCheckpointTrainer):
    """Weights, optimizer and what each process knows are saved whole, once, under names of parameters.

    So one process, several with DDP and several with FSDP2 write and read the same files. What differs between
    processes is the random numbers of dropout: another number of them draws others from there on, and says so.

    With DDP accelerate wraps the model. With FSDP2 it is split here (see `fsdp.shard`) and takes the library's way for
    models that come split; that leaves saving to us.
    """

    fsdp: Mapping[str, bool] | None = None

    def prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        """As the library's, with FSDP2 of a model that is split here."""
        if self.fsdp is not None:
            shard(self.model, **self.fsdp)
            self.take_split_model()
        return super().prepare_for_training(*args, **kwargs)

    @contextmanager
    def deferred_gradient_reduction(self) -> Iterator[None]:
        """Within the block a split model's gradients stay on their ranks."""
        self.model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self.model.set_requires_gradient_sync(True)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As the library's; of a split model every rank must call it, and the first one writes."""
        if not is_split(self.model):
            super().save_model(output_dir, _internal_call)
            return
        weights = get_model_state_dict(self.model, options=_WHOLE)
        if self.args.should_save:
            self.write_weights(output_dir, weights)

    def share_batches(self, batches: Any, collator: Any) -> Any:
        """A loader of this process's share of `batches`, which are the same on every process."""
        ranks = self.args.world_size
        loader: DataLoader[Any] = DataLoader(
            self.train_dataset,
            batch_sampler=batches if ranks == 1 else RankBatchSampler(batches, self.args.process_index, ranks),
            collate_fn=collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        if ranks == 1:
            return self.accelerator.prepare(loader)
        # Accelerate would share the batches out once more, whole ones and the last ones twice.
        return prepare_data_loader(
            loader, self.accelerator.device, num_processes=1, process_index=0, put_on_device=True, rng_types=None
        )

    def write_optimizer(self, folder: str) -> None:
        """Whole states, of optimizer and schedule, under names of parameters; every rank must call it."""
        state = get_optimizer_state_dict(unwrap(self.model_wrapped), self.optimizer.optimizer, options=_WHOLE)
        if self.args.should_save:
            torch.save(state, Path(folder) / _OPTIMIZER_NAME)
            torch.save(self.lr_scheduler.state_dict(), Path(folder) / _SCHEDULER_NAME)

    def read_optimizer(self, folder: str | None) -> None:
        """What `write_optimizer` wrote, of any number of processes.

        Raises:
            CheckpointError: it is damaged, or of another model.
        """
        if folder is None:
            return
        try:
            state, schedule = (
                torch.load(Path(folder) / name, map_location="cpu", weights_only=True)
                for name in (_OPTIMIZER_NAME, _SCHEDULER_NAME)
            )
            options = StateDictOptions(full_state_dict=True)
            set_optimizer_state_dict(unwrap(self.model_wrapped), self.optimizer.optimizer, state, options=options)
            self.lr_scheduler.load_state_dict(schedule)
        except (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                f"checkpoint {folder}: the optimizer's state does not fit or can't be read ({error}); resume with "
                "the model and the settings that wrote it"
            ) from error

    def read_weights(self, folder: str, model: Any = None) -> None:
        """As the library's; of a split model each rank takes its part of the whole file."""
        if not is_split(self.model):
            super().read_weights(folder, model)
            return
        weights = load_file(Path(folder) / _WEIGHTS_NAME)
        options = StateDictOptions(full_state_dict=True, strict=False)
        self.check_read_weights(set_model_state_dict(unwrap(self.model), weights, options=options))

    def _load_best_weights(self, folder: Path) -> None:
        if is_split(self.model):
            self.read_weights(str(folder))
        else:
            super()._load_best_weights(folder)

    def _save_of_ranks(self, folder: Path, own: Mapping[str, Any]) -> None:
        """Write what each process knows into one file."""
        ranks: list[Any] = [own]
        if self.args.world_size > 1:
            ranks = [None] * self.args.world_size
            dist.all_gather_object(ranks, own)
        if self.args.should_save:
            size = getattr(getattr(self, "batch_sampler", None), "batch_size", None)
            asked = self.args.per_device_train_batch_size
            write_json(folder / _RANKS_NAME, {"ranks": ranks, "batch_size": size, "asked_batch_size": asked})

    def _load_of_ranks(self, folder: Path) -> dict[str, Any]:
        """What this process knew; where there were others, the mean over them, which is what is logged of it.

        Raises:
            CheckpointError: there is no readable file of it.
        """
        ranks = _read_ranks(folder)["ranks"]
        if len(ranks) == self.args.world_size:
            return dict(ranks[self.args.process_index])
        mean: dict[str, Any] = _mean(ranks)
        return mean

    def read_random_numbers(self, folder: str | Path | None) -> None:
        """Random numbers go on as they would have; another number of processes draws new ones."""
        if folder is None:
            return
        written_by = len(_read_ranks(Path(folder))["ranks"])
        if written_by == self.args.world_size:
            super().read_random_numbers(str(folder))
            return
        if self.args.process_index == 0:
            logger.warning(
                "%s was written by %d processes, this run has %d: all goes on but dropout, which draws other random "
                "numbers from here on",
                folder,
                written_by,
                self.args.world_size,
            )
        set_seed(_seed_of_rank(self.args.seed, self.args.process_index, self.state.global_step + 1))

    def _begin_random_numbers(self) -> None:
        """Dropout must not be the same on every process; the first one goes on as a process alone would."""
        if self.args.process_index > 0:
            set_seed(_seed_of_rank(self.args.seed, self.args.process_index, 0))


def batch_size_of_run(per_process: int, ranks: int, checkpoint: Path | None) -> int:
    """Examples of a batch over all processes: `per_process` for each, or as a run began with other processes.

    Args:
        per_process: `per_device_train_batch_size`.
        ranks: processes of this run.
        checkpoint: where it continues from, if anywhere. A run that goes on with another number of processes, and the
            same settings, goes on with the same batches: each process takes more or fewer examples of them.
    """
    try:
        before = None if checkpoint is None else _read_ranks(checkpoint)
    except CheckpointError:  # told of when it is loaded
        before = None
    if before is None or before["batch_size"] is None or before["asked_batch_size"] != per_process:
        return per_process * ranks
    size = int(before["batch_size"])
    if size != per_process * ranks:
        logger.warning(
            "this run began with batches of %d examples and goes on with them: up to %d on each of %d processes, where "
            "per_device_train_batch_size is %d",
            size,
            -(-size // ranks),
            ranks,
            per_process,
        )
    return size


def _read_ranks(folder: Path) -> dict[str, Any]:
    path = folder / _RANKS_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = {name: content[name] for name in ("ranks", "batch_size", "asked_batch_size")}
        if not found["ranks"] or not all(isinstance(own, dict) for own in found["ranks"]):
            raise ValueError("not a list of what each process knew")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: no readable state of the run's processes ({error}); resume from an earlier checkpoint"
        ) from error
    return found


def _mean(values: list[Any]) -> Any:
    """The mean of numbers, entry by entry of mappings; of what is the same on every process, itself."""
    if isinstance(values[0], dict):
        return {name: _mean([value[name] for value in values]) for name in values[0]}
    if all(value == values[0] for value in values):
        return values[0]
    return sum(values) / len(values)


def _seed_of_rank(seed: int, rank: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, rank, step]).generate_state(1)[0])
