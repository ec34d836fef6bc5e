"""Batches without padding: several sequences in one row, each seen by nobody but itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pruneofa.errors import ConfigurationError, DataError

__all__ = ["PackingCollator"]

_IGNORED_LABEL = -100
_TOKEN_COLUMNS = ("input_ids", "labels", "token_type_ids")
_SCALAR_COLUMNS = ("next_sentence_label",)
IntArray = npt.NDArray[np.int64]


class PackingCollator:
    """Makes one batch of tensors from pre-training examples (dicts), several of them in one row.

    The examples are sorted by length, so that those of equal length lie side by side. Without `row_length` all go into
    one row without a gap, for attention that knows where each begins (`cu_seq_lens_q` and its like, as transformers'
    flash attention has them). With it they go into rows of at most that many tokens, for attention by a mask
    (`sequence_ids`); what is left at the end of a row is padding.

    Args:
        pad_token_id: fills `input_ids` at the end of a row; labels are filled with -100, the rest with 0.
        position_offset: position of a sequence's first token (RoBERTa-like models don't begin at 0).
        row_length: tokens of a row, or more where an example is longer; None for one row that holds all.
    """

    def __init__(self, pad_token_id: int, position_offset: int = 0, row_length: int | None = None) -> None:
        if row_length is not None and row_length < 1:
            raise ConfigurationError(f"row_length is {row_length}; it must be at least 1")
        self._fill = {"input_ids": pad_token_id, "labels": _IGNORED_LABEL}
        self._position_offset = position_offset
        self._row_length = row_length

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Collate.

        Args:
            examples: lists of one length under `input_ids`, `labels`, `token_type_ids`, `attention_mask` (left out:
                nothing is padding), and numbers under `next_sentence_label`.

        Returns:
            The columns `[rows, length]`, `position_ids` that begin anew with each sequence, and `sequence_starts`
            `[sequences]`: the place of each sequence's first token in the flattened rows; numbers become
            `[sequences]`, in this order. Further `cu_seq_lens_q`, `cu_seq_lens_k` (int32 `[sequences + 1]`),
            `max_length_q`, `max_length_k`; or, with `row_length`, `sequence_ids` (from 1; 0: padding) and
            `attention_mask`, both `[rows, length]`.

        Raises:
            DataError: examples with different columns, with others than these, or with lists of unequal length.
        """
        examples = sorted(examples, key=lambda example: -len(example["input_ids"]))
        names = [name for name in examples[0] if name != "attention_mask"]
        _check_columns(examples, names)
        lengths = np.array([len(example["input_ids"]) for example in examples], dtype=np.int64)
        rows, starts, width = self._places(lengths)
        order = np.argsort(rows * width + starts, kind="stable")
        flat_starts = rows[order] * width + starts[order]
        shape = (int(rows.max()) + 1, width)
        batch: dict[str, Any] = {}
        for name in names:
            if name in _SCALAR_COLUMNS:
                batch[name] = torch.tensor([int(examples[index][name]) for index in order])
                continue
            column = np.full(shape, self._fill.get(name, 0), dtype=np.int64)
            for index, row, start, length in zip(range(len(examples)), rows, starts, lengths, strict=True):
                column[row, start : start + length] = _checked(name, examples[index][name], length)
            batch[name] = torch.from_numpy(column)
        positions = np.full(shape, self._position_offset, dtype=np.int64)
        for row, start, length in zip(rows, starts, lengths, strict=True):
            positions[row, start : start + length] += np.arange(length)
        batch["position_ids"] = torch.from_numpy(positions)
        batch["sequence_starts"] = torch.from_numpy(flat_starts)
        return batch | self._boundaries(lengths[order], rows[order], starts[order], shape)

    def _places(self, lengths: IntArray) -> tuple[IntArray, IntArray, int]:
        """Row and first place of each sequence, and the rows' length; longest first, each where it fits first."""
        if self._row_length is None:
            return np.zeros_like(lengths), np.concatenate(([0], np.cumsum(lengths[:-1]))), int(lengths.sum())
        capacity = max(self._row_length, int(lengths.max()))
        filled: list[int] = []
        rows, starts = np.zeros_like(lengths), np.zeros_like(lengths)
        for index, length in enumerate(lengths.tolist()):
            row = next((row for row, used in enumerate(filled) if used + length <= capacity), len(filled))
            if row == len(filled):
                filled.append(0)
            rows[index], starts[index] = row, filled[row]
            filled[row] += length
        return rows, starts, max(filled)

    def _boundaries(
        self, lengths: IntArray, rows: IntArray, starts: IntArray, shape: tuple[int, int]
    ) -> dict[str, Any]:
        """What tells the sequences of a row apart."""
        if self._row_length is None:
            ends = torch.from_numpy(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32))
            longest = int(lengths.max())
            return {
                "cu_seq_lens_q": ends,
                "cu_seq_lens_k": ends,
                "max_length_q": longest,
                "max_length_k": longest,
            }
        sequence_ids = np.zeros(shape, dtype=np.int64)
        for number, (row, start, length) in enumerate(zip(rows, starts, lengths, strict=True)):
            sequence_ids[row, start : start + length] = number + 1
        ids = torch.from_numpy(sequence_ids)
        return {"sequence_ids": ids, "attention_mask": (ids != 0).long()}


def _check_columns(examples: Sequence[dict[str, Any]], names: list[str]) -> None:
    wrong = sorted(set(names) - {*_TOKEN_COLUMNS, *_SCALAR_COLUMNS})
    if wrong:
        raise DataError(
            f"column {wrong[0]!r} can't be packed; allowed: {', '.join((*_TOKEN_COLUMNS, *_SCALAR_COLUMNS))}. Set "
            "batching to 'bucketed' for such examples"
        )
    for example in examples:
        if {name for name in example if name != "attention_mask"} != set(names):
            differing = sorted(example.keys() ^ examples[0].keys())
            raise DataError(f"the examples of a batch have different columns: {', '.join(differing)}")


def _checked(name: str, value: Any, length: int) -> Any:
    if len(value) != length:
        raise DataError(f"column {name!r} has {len(value)} entries where input_ids has {length}")
    return value
