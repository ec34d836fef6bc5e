"""The share of each batch that one of several processes takes."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import Sampler

from pruneofa.errors import DataError


class RankBatchSampler(Sampler[list[Any]]):
    """This process's share of every batch of `batches`: each `ranks`-th entry, beginning with its own.

    The shares of a batch are the batch, nothing lost and nothing twice, and in a batch sorted by length they are alike.
    So a step of several processes sees the very examples that a step of one process with the whole batch would.

    Args:
        batches: a batch sampler that yields the same on every process, with `set_epoch` where it has epochs.
        rank: number of this process.
        ranks: number of processes.
    """

    def __init__(self, batches: Any, rank: int, ranks: int) -> None:
        self._batches = batches
        self._rank = rank
        self._ranks = ranks

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration yields."""
        self._batches.set_epoch(epoch)

    def __len__(self) -> int:
        """Batches of an epoch, the same on every process."""
        return len(self._batches)

    def __iter__(self) -> Iterator[list[Any]]:
        """Yield the shares.

        Raises:
            DataError: on every process alike, a batch has fewer entries than there are processes.
        """
        for batch in self._batches:
            if len(batch) < self._ranks:
                raise DataError(
                    f"a batch has {len(batch)} examples for {self._ranks} processes; start fewer, raise "
                    "per_device_train_batch_size, or give more data"
                )
            yield batch[self._rank :: self._ranks]
