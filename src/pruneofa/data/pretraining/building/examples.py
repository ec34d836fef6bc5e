"""Examples as spans of token arrays, and as an Arrow file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneofa.atomic import replacing_file

__all__ = ["Examples", "Frame", "gather", "write_examples"]

IntArray = npt.NDArray[np.int64]
TokenArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Frame:
    """The special tokens around the parts of an example.

    Attributes:
        start, end: what opens an example of one segment or of packed pieces, and what closes each piece.
        first, middle, last: what stands before, between and after the segments of a pair.
    """

    start: int
    end: int
    first: tuple[int, ...]
    middle: tuple[int, ...]
    last: tuple[int, ...]

    @property
    def pair_tokens(self) -> int:
        """Special tokens of a pair."""
        return len(self.first) + len(self.middle) + len(self.last)


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples of one shard and split.

    Attributes:
        input_ids: of all examples, one after the other, special tokens included.
        offsets: of the examples in `input_ids`, shape [examples + 1].
        documents: numbers of the documents in each example, one example after the other.
        document_offsets: of the examples in `documents`, shape [examples + 1].
        second_segment: position of the first token of the second segment, shape [examples]; pairs only.
        next_sentence_label: 0 where it follows the first segment, 1 where it is random, shape [examples]; pairs only.
        facts: counts of what was cut, by name.
    """

    input_ids: TokenArray
    offsets: IntArray
    documents: IntArray
    document_offsets: IntArray
    facts: dict[str, int]
    second_segment: TokenArray | None = None
    next_sentence_label: npt.NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> IntArray:
        """Tokens of each example."""
        return np.diff(self.offsets)


def gather(tokens: TokenArray, begins: IntArray, lengths: IntArray) -> TokenArray:
    """The spans `tokens[begin : begin + length]`, one after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    index = np.arange(total) + np.repeat(begins - (ends - lengths), lengths)
    gathered: TokenArray = tokens[index]
    return gathered


def write_examples(examples: Examples, path: Path) -> None:
    """Write an Arrow stream file of one record batch, which `datasets` maps into memory."""
    import pyarrow as pa

    columns = {
        "input_ids": _lists(examples.offsets, examples.input_ids),
        "length": pa.array(examples.lengths.astype(np.int32)),
        "documents": _lists(examples.document_offsets, examples.documents),
    }
    if examples.second_segment is not None and examples.next_sentence_label is not None:
        columns["second_segment"] = pa.array(examples.second_segment)
        columns["next_sentence_label"] = pa.array(examples.next_sentence_label)
    batch = pa.RecordBatch.from_pydict(columns)
    with (
        replacing_file(path) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_stream(file, batch.schema) as writer,
    ):
        writer.write_batch(batch)


def _lists(offsets: IntArray, values: npt.NDArray[np.int32] | IntArray) -> Any:
    import pyarrow as pa

    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))
