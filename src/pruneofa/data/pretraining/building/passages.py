"""Examples that are texts of their own, as a sentence encoder is given them: sentences and passages of one document.

Each is `[CLS] s1 ... sn [SEP]`: sentences that follow each other, as many as fit into a target length. Targets are
drawn log-uniformly, so that short queries, single sentences and whole passages all occur.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pruneofa.data.pretraining.building.examples import Examples, Frame, gather
from pruneofa.data.pretraining.building.token_shards import TokenShard
from pruneofa.data.pretraining.building.whole_sentences import cut_long_sentences

__all__ = ["passage_examples"]

_SHORTEST = 4
IntArray = npt.NDArray[np.int64]


def passage_examples(
    shard: TokenShard, members: IntArray, *, max_length: int, frame: Frame, generator: np.random.Generator
) -> Examples:
    """Cut some documents into passages.

    Args:
        shard: the documents of a shard.
        members: which of them take part, rising, shape [members].
        max_length: longest example in tokens, special tokens counted; at least 7.
        frame: the special tokens.
        generator: draws the target lengths, from 4 to `max_length` - 2 tokens.

    Returns:
        The examples in the order of the text; every token of every member is in exactly one of them. A sentence that
        is longer than an example is cut.
    """
    window = max_length - 2
    offsets, first, long_sentences = cut_long_sentences(shard, window)
    bounds = [
        (begin, end, member)
        for member in members.tolist()
        for begin, end in _cut(offsets[first[member] : first[member + 1] + 1], window, generator)
    ]
    begins, ends, owners = (np.array(column, dtype=np.int64) for column in zip(*bounds, strict=True))
    # Spans of an example: the opening token, its text, the closing token.
    span_begins = np.stack(
        [np.full(len(begins), len(shard.tokens)), begins, np.full(len(begins), len(shard.tokens) + 1)]
    )
    span_lengths = np.stack([np.ones_like(begins), ends - begins, np.ones_like(begins)])
    return Examples(
        input_ids=gather(
            np.concatenate([shard.tokens, np.array([frame.start, frame.end], dtype=np.int32)]),
            span_begins.T.ravel(),
            span_lengths.T.ravel(),
        ),
        offsets=np.concatenate([[0], np.cumsum(span_lengths.sum(axis=0))]),
        documents=shard.numbers[owners],
        document_offsets=np.arange(len(begins) + 1),
        facts={"cut_sentences": int(long_sentences[members].sum())},
    )


def _cut(offsets: IntArray, window: int, generator: np.random.Generator) -> Iterator[tuple[int, int]]:
    """First and last token of each passage of a document, from the offsets of its sentences."""
    ends = offsets.tolist()
    position = 0
    while position < len(ends) - 1:
        target = ends[position] + int(np.exp(generator.uniform(np.log(_SHORTEST), np.log(window + 1))))
        last = position + 1  # one sentence at least
        while last < len(ends) - 1 and ends[last + 1] <= target:
            last += 1
        yield ends[position], ends[last]
        position = last
