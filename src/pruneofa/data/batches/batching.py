"""The order of examples, as a pure function of seed and epoch, and the padding of batches."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Sampler

from pruneofa.data.randomness import Purpose, generator
from pruneofa.errors import ConfigurationError, DataError

__all__ = ["EpochBatchSampler", "PaddingCollator"]

_MEGA_BATCH = 50
_PADDED = (
    *("input_ids", "labels", "attention_mask", "token_type_ids"),
    *("teacher_start_logits", "teacher_end_logits"),
)
_IGNORED_LABEL = -100
# A teacher's logit for what is padding: its probability is zero in any precision, its logarithm still finite.
_IMPOSSIBLE = -1e4


class EpochBatchSampler(Sampler[list[tuple[int, int]]]):
    """Batches of keys `(epoch, index)`; pass it to a DataLoader as `batch_sampler`.

    The order of an epoch depends on seed and epoch alone: a resumed run skips the batches that it has seen and goes on
    with the same ones. With `group_by_length` the shuffled examples are cut into stretches of 50 batches, each stretch
    is sorted by length and cut into batches, and the batches are shuffled: batches of nearly equal lengths, little
    padding. A last batch that is not full comes last.

    Args:
        lengths: tokens of each example, shape [examples].
        batch_size: examples in a batch.
        seed: the run's seed.
        shuffle: False gives index order.
        drop_last: leave a last batch out that is not full.
        group_by_length: see above; False shuffles plainly.

    Raises:
        ConfigurationError: a batch size below 1, or one over the number of examples with `drop_last`.
        DataError: no example.
    """

    def __init__(
        self,
        lengths: Sequence[int] | npt.NDArray[Any],
        batch_size: int,
        seed: int,
        shuffle: bool = True,
        drop_last: bool = False,
        group_by_length: bool = True,
    ) -> None:
        self._lengths = np.asarray(lengths, dtype=np.int64)
        if not self._lengths.size:
            raise DataError("there is no example to make batches of; check the data's source")
        if batch_size < 1:
            raise ConfigurationError(f"batch_size is {batch_size}; it must be at least 1")
        if drop_last and batch_size > self._lengths.size:
            raise ConfigurationError(
                f"batch_size is {batch_size}, but there are only {self._lengths.size} examples, and drop_last leaves "
                f"no batch; lower batch_size or set drop_last to false"
            )
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.epoch = 0
        self._seed = seed
        self._shuffle = shuffle
        self._group_by_length = group_by_length

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches of an epoch, the same for each."""
        full, rest = divmod(self._lengths.size, self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = self.epoch
        for batch in self._batches(epoch)[: len(self)]:
            yield [(epoch, int(index)) for index in batch]

    def _batches(self, epoch: int) -> list[npt.NDArray[np.int64]]:
        count = self._lengths.size
        if not self._shuffle:
            return self._cut(np.arange(count))
        random = generator(Purpose.ORDER, self._seed, epoch)
        order = random.permutation(count)
        if not self._group_by_length:
            return self._cut(order)
        stretch = _MEGA_BATCH * self.batch_size
        batches: list[npt.NDArray[np.int64]] = []
        for begin in range(0, count, stretch):
            members = order[begin : begin + stretch]
            batches += self._cut(members[np.argsort(-self._lengths[members], kind="stable")])
        full = count // self.batch_size
        return [batches[position] for position in random.permutation(full)] + batches[full:]

    def _cut(self, order: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        return [order[begin : begin + self.batch_size] for begin in range(0, len(order), self.batch_size)]


class PaddingCollator:
    """Makes one batch of tensors from examples (dicts).

    `input_ids`, `attention_mask`, `token_type_ids`, a list of `labels` and a teacher's logits for start and end of an
    answer are padded at the right to the longest of the batch; a scalar `label` becomes the tensor `labels` [batch];
    any other column must be a number or a list of numbers of one size (a teacher's logits, say) and is stacked:
    integers to int64, others to float32.

    Args:
        pad_token_id: fills `input_ids`; None, where the tokenizer has none, is refused. Labels are filled with
            -100, the rest with 0.
        pad_to_multiple_of: round the padded length up to a multiple of this.
        drop_full_mask: leave `attention_mask` out of a batch without padding: attention without a mask is faster.
    """

    def __init__(
        self, pad_token_id: int | None, pad_to_multiple_of: int | None = None, drop_full_mask: bool = False
    ) -> None:
        if pad_to_multiple_of is not None and pad_to_multiple_of < 1:
            raise ConfigurationError(f"pad_to_multiple_of is {pad_to_multiple_of}; it must be at least 1")
        if pad_token_id is None:
            raise DataError(
                "the tokenizer has no padding token, so texts of different lengths can't share a batch; name one as "
                "pad_token in its tokenizer_config.json, such as [PAD]"
            )
        self._fill: dict[str, int | float] = dict.fromkeys(_PADDED, 0)
        self._fill |= {"input_ids": pad_token_id, "labels": _IGNORED_LABEL}
        self._fill |= dict.fromkeys(("teacher_start_logits", "teacher_end_logits"), _IMPOSSIBLE)
        self._multiple = pad_to_multiple_of or 1
        self._drop_full_mask = drop_full_mask

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate; each value of the result is [batch] or [batch, length or size].

        Raises:
            DataError: examples with different columns, or a column that can't be padded or stacked.
        """
        names = examples[0].keys()
        if any(example.keys() != names for example in examples):
            raise DataError(f"the examples of a batch have different columns: {_differing(examples)}")
        lengths = [len(example["input_ids"]) for example in examples]
        width = -(-max(lengths) // self._multiple) * self._multiple
        batch: dict[str, torch.Tensor] = {}
        for name in names:
            values = [example[name] for example in examples]
            if name in _PADDED and np.ndim(values[0]) == 1:
                batch[name] = self._pad(name, values, lengths, width)
            else:
                batch["labels" if name == "label" else name] = _stack(name, values)
        if "attention_mask" not in batch:
            batch["attention_mask"] = self._pad("attention_mask", [[1] * length for length in lengths], lengths, width)
        if self._drop_full_mask and bool(batch["attention_mask"].all()):
            del batch["attention_mask"]
        return batch

    def _pad(self, name: str, values: list[Any], lengths: list[int], width: int) -> torch.Tensor:
        fill = self._fill[name]
        padded = np.full((len(values), width), fill, dtype=np.float32 if isinstance(fill, float) else np.int64)
        for row, (value, length) in enumerate(zip(values, lengths, strict=True)):
            if len(value) != length:
                raise DataError(f"column {name!r} has {len(value)} entries where input_ids has {length}")
            padded[row, :length] = value
        return torch.from_numpy(padded)


def _stack(name: str, values: list[Any]) -> torch.Tensor:
    try:
        stacked = np.asarray(values)
    except ValueError as error:
        raise DataError(f"column {name!r} has lists of different sizes in one batch, so it can't be stacked") from error
    if stacked.dtype.kind in "iub":
        return torch.from_numpy(stacked.astype(np.int64))
    if stacked.dtype.kind == "f":
        return torch.from_numpy(stacked.astype(np.float32))
    raise DataError(f"column {name!r} holds {type(values[0]).__name__}, not numbers; leave it out of the examples")


def _differing(examples: Sequence[dict[str, Any]]) -> str:
    every = {name for example in examples for name in example}
    shared = {name for name in every if all(name in example for example in examples)}
    return ", ".join(sorted(every - shared))
