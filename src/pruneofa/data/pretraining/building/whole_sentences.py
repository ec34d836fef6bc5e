"""Examples of whole sentences for masked language modelling alone (RoBERTa's full sentences, arXiv 1907.11692, 4.2).

The sentences of a shard follow each other in the order of the text and are taken as long as they fit; an example may
run over the end of a document, which a closing token marks: `[CLS] s1 s2 [SEP] s3 ... [SEP]`. A sentence that is longer
than an example is cut. With a small chance an example is kept shorter, to a random length.
"""

from bisect import bisect_right
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pruneofa.data.pretraining.building.examples import Examples, Frame, gather
from pruneofa.data.pretraining.building.token_shards import TokenShard

__all__ = ["cut_long_sentences", "sentence_examples"]

IntArray = npt.NDArray[np.int64]


def sentence_examples(
    shard: TokenShard,
    members: IntArray,
    *,
    max_length: int,
    short_probability: float,
    frame: Frame,
    generator: np.random.Generator,
) -> Examples:
    """Put the sentences of some documents together.

    Args:
        shard: the documents of a shard.
        members: which of them take part, rising, shape [members].
        max_length: longest example in tokens, special tokens counted; at least 4.
        short_probability: chance of an example to have a target length drawn from [2, max_length - 2] tokens.
        frame: the special tokens.
        generator: draws which examples are short.

    Returns:
        The examples in the order of the text; every token of every member is in exactly one of them.
    """
    window = max_length - 2
    offsets, first, long_sentences = cut_long_sentences(shard, window)
    lengths = np.diff(offsets)
    begins, ends = first[members], first[members + 1]
    sentences = _ranges(begins, ends)
    closes = np.zeros(len(lengths), dtype=np.int64)
    closes[ends - 1] = 1
    # The end of a document takes the room of a closing token.
    starts = np.fromiter(
        _starts(lengths[sentences], closes[sentences], window, short_probability, generator), dtype=np.int64
    )
    # Runs: stretches of sentences of one document in one example.
    document_starts = np.concatenate([[0], np.cumsum(ends - begins)])
    runs = np.union1d(starts, document_starts)[:-1] if len(sentences) else np.empty(0, dtype=np.int64)
    run_ends = np.append(runs[1:], len(sentences))
    run_begins = offsets[sentences[runs]]
    run_lengths = offsets[sentences[run_ends - 1] + 1] - run_begins
    runs_before = np.append(np.searchsorted(runs, starts), len(runs))
    opening = np.append(2 * runs_before[:-1] + np.arange(len(starts)), 2 * len(runs) + len(starts))
    slots = 2 * np.arange(len(runs)) + np.searchsorted(starts, runs, side="right")
    span_begins = np.full(opening[-1], len(shard.tokens) + 1)
    span_lengths = np.ones(opening[-1], dtype=np.int64)
    span_begins[opening[:-1]] = len(shard.tokens)
    span_begins[slots], span_lengths[slots] = run_begins, run_lengths
    owners = members[np.searchsorted(document_starts, runs, side="right") - 1]
    return Examples(
        input_ids=gather(
            np.concatenate([shard.tokens, np.array([frame.start, frame.end], dtype=np.int32)]),
            span_begins,
            span_lengths,
        ),
        offsets=np.concatenate([[0], np.cumsum(span_lengths)])[opening],
        documents=shard.numbers[owners],
        document_offsets=runs_before,
        facts={"cut_sentences": int(long_sentences[members].sum())},
    )


def cut_long_sentences(shard: TokenShard, window: int) -> tuple[IntArray, IntArray, IntArray]:
    """Cut sentences of more than `window` tokens.

    Returns:
        Token offsets of the sentences, shape [sentences + 1]; offsets of the documents into them, shape
        [documents + 1]; how many sentences of each document were cut, shape [documents].
    """
    lengths = np.diff(shard.sentences)
    counts = -(-lengths // window)
    before = np.concatenate([[0], np.cumsum(counts)])
    within = np.arange(before[-1]) - np.repeat(before[:-1], counts)
    offsets = np.append(np.repeat(shard.sentences[:-1], counts) + within * window, shard.sentences[-1])
    long_before = np.concatenate([[0], np.cumsum(counts > 1)])
    return offsets, before[shard.documents], np.diff(long_before[shard.documents])


def _ranges(begins: IntArray, ends: IntArray) -> IntArray:
    """The numbers of all ranges [begin, end), one after the other."""
    lengths = ends - begins
    numbers: IntArray = np.arange(lengths.sum()) + np.repeat(begins - (np.cumsum(lengths) - lengths), lengths)
    return numbers


def _starts(
    lengths: IntArray, closes: IntArray, window: int, short_probability: float, generator: np.random.Generator
) -> Iterator[int]:
    """First sentence of each example.

    An example's room is `window` + 1 tokens: its sentences and a closing token for each document that it holds.
    """
    spent, ending = [0, *np.cumsum(lengths + closes).tolist()], closes.tolist()
    count, start = len(lengths), 0
    while start < count:
        yield start
        target = window
        if generator.random() < short_probability:
            target = int(generator.integers(2, window, endpoint=True))
        end = bisect_right(spent, spent[start] + target + 1) - 1
        # The last document may go on in the next example, and is closed here all the same.
        if end > start and not ending[end - 1] and spent[end] - spent[start] > target:
            end -= 1
        start = max(end, start + 1)
