"""Segment pairs with next-sentence labels, as BERT was pre-trained on them (arXiv 1810.04805, appendix A.2).

The sentences of a document are taken in order until they reach the target length: the longest that fits or, with a
small chance, a random shorter one. A random sentence boundary parts them into segments A and B; with probability 0.5 B
is dropped (its sentences begin the next example) and a stretch of another document takes its place, which begins at a
random sentence of a document drawn from the whole corpus. A pair that is too long loses tokens at both ends of its
longer segment.

One thing differs from BERT's own code, where a lone sentence always gets a random B, so that more than half of the
pairs are random: here it takes the next sentence with it where there is one, and where there is none, as many later
pairs are kept together instead.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pruneofa.data.pretraining.building.examples import Examples, Frame, gather
from pruneofa.data.pretraining.building.token_shards import TokenReader, TokenShard
from pruneofa.data.pretraining.building.whole_sentences import cut_long_sentences

__all__ = ["Corpus", "Draws", "pair_examples", "truncation"]

IntArray = npt.NDArray[np.int64]
_RANDOM_NEXT_PROBABILITY = 0.5


class Draws:
    """Uniform numbers of a generator, one at a time, as fast as Python's own."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._numbers = self._stream(generator)

    @staticmethod
    def _stream(generator: np.random.Generator) -> Iterator[float]:
        while True:
            yield from generator.random(4096).tolist()

    def uniform(self) -> float:
        """A number in [0, 1)."""
        return next(self._numbers)

    def below(self, limit: int) -> int:
        """An integer in [0, limit); `limit` is far below 2^53."""
        return int(next(self._numbers) * limit)


@dataclass(frozen=True)
class Corpus:
    """All documents of all shards, to draw from.

    Attributes:
        reader: their token ids.
        first: running number of each shard's first document, and the number of all, shape [shards + 1].
        validation_below: documents whose hash is below this validate, the others train.
    """

    reader: TokenReader
    first: tuple[int, ...]
    validation_below: int

    def other_document(self, text_hash: int, draws: Draws) -> tuple[int, int]:
        """Shard and index of a document of the same split with another text, each with the same chance.

        There must be one.
        """
        validates = text_hash < self.validation_below
        while True:
            running = draws.below(self.first[-1])
            shard = bisect_right(self.first, running) - 1
            document = running - self.first[shard]
            found = self.reader.text_hash(shard, document)
            if found != text_hash and (found < self.validation_below) == validates:
                return shard, document


@dataclass
class _Pairs:
    """Pairs before truncation; positions count in the shard's tokens followed by those fetched from elsewhere."""

    a_begin: list[int] = field(default_factory=list)
    a_length: list[int] = field(default_factory=list)
    b_begin: list[int] = field(default_factory=list)
    b_length: list[int] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    document: list[int] = field(default_factory=list)
    other: list[int] = field(default_factory=list)
    fetched: list[npt.NDArray[np.int32]] = field(default_factory=list)
    fetched_tokens: int = 0


def pair_examples(
    shard: TokenShard,
    members: IntArray,
    corpus: Corpus,
    *,
    max_length: int,
    short_probability: float,
    frame: Frame,
    generator: np.random.Generator,
) -> Examples:
    """Make the pairs of some documents.

    Args:
        shard: the documents of a shard.
        members: which of them take part, shape [members].
        corpus: where random segments come from.
        max_length: longest pair in tokens, special tokens counted.
        short_probability: chance of a pair to have a target length drawn from [2, its longest].
        frame: the special tokens.
        generator: of everything random here.

    Returns:
        The pairs in the order of the text.
    """
    limit = max_length - frame.pair_tokens
    offsets, first, long_sentences = cut_long_sentences(shard, limit)
    maker = _PairMaker(offsets.tolist(), len(shard.tokens), corpus, limit, short_probability, Draws(generator))
    bounds, numbers = first.tolist(), shard.numbers.tolist()
    for member in members.tolist():
        maker.add_document(bounds[member], bounds[member + 1], numbers[member], int(shard.hashes[member]))
    facts = {"cut_sentences": int(long_sentences[members].sum())}
    return _assemble(shard.tokens, maker.pairs, limit, frame, generator, facts)


class _PairMaker:
    def __init__(
        self, offsets: list[int], tokens: int, corpus: Corpus, limit: int, short_probability: float, draws: Draws
    ) -> None:
        self.pairs = _Pairs()
        self._offsets = offsets
        self._tokens = tokens
        self._corpus = corpus
        self._limit = limit
        self._short_probability = short_probability
        self._draws = draws
        self._owed = 0  # pairs that had to be random against the draw

    def add_document(self, begin: int, end: int, number: int, text_hash: int) -> None:
        """Make the pairs of the document whose sentences are [begin, end)."""
        offsets, pairs = self._offsets, self.pairs
        while begin < end:
            target = self._target()
            stop = bisect_left(offsets, offsets[begin] + target, begin + 1, end)
            is_random = self._draws.uniform() < _RANDOM_NEXT_PROBABILITY
            if stop - begin == 1 and not is_random and stop < end:
                stop += 1
            if stop - begin == 1:
                self._owed += not is_random
                is_random, middle = True, stop
            else:
                if is_random and self._owed:
                    self._owed -= 1
                    is_random = False
                middle = begin + 1 + self._draws.below(stop - begin - 1)
            length = offsets[middle] - offsets[begin]
            pairs.a_begin.append(offsets[begin])
            pairs.a_length.append(length)
            pairs.label.append(int(is_random))
            pairs.document.append(number)
            if is_random:
                self._add_random(text_hash, target - length)
                begin = middle
            else:
                pairs.b_begin.append(offsets[middle])
                pairs.b_length.append(offsets[stop] - offsets[middle])
                pairs.other.append(-1)
                begin = stop

    def _target(self) -> int:
        if self._draws.uniform() < self._short_probability:
            return 2 + self._draws.below(self._limit - 1)
        return self._limit

    def _add_random(self, text_hash: int, wanted: int) -> None:
        """Sentences of another document, from a random one on, until they reach the wanted length."""
        pairs, reader = self.pairs, self._corpus.reader
        shard, document = self._corpus.other_document(text_hash, self._draws)
        first, end = reader.sentence_range(shard, document)
        sentence = first + self._draws.below(end - first)
        # A sentence has at least one token, so no more of them can be needed.
        offsets = reader.sentence_offsets(shard, sentence, min(end - sentence, max(wanted, 1)))
        last = min(int(np.searchsorted(offsets, offsets[0] + max(wanted, 1))), len(offsets) - 1)
        length = min(int(offsets[last] - offsets[0]), self._limit)
        pairs.fetched.append(reader.tokens(shard, int(offsets[0]), length))
        pairs.b_begin.append(self._tokens + pairs.fetched_tokens)
        pairs.b_length.append(length)
        pairs.other.append(reader.number(shard, document))
        pairs.fetched_tokens += length


def truncation(first: IntArray, second: IntArray, limit: int) -> tuple[IntArray, IntArray]:
    """Tokens that each segment of a pair loses until both fit into `limit`.

    One token at a time goes from the longer segment, from the second where both are equal.

    Args:
        first, second: lengths, shape [pairs].
        limit: tokens that a pair may have.
    """
    excess = np.maximum(first + second - limit, 0)
    levelling = np.minimum(excess, np.abs(first - second))
    rest = excess - levelling
    cut_first = np.where(first > second, levelling, 0) + rest // 2
    cut_second = np.where(second > first, levelling, 0) + (rest + 1) // 2
    return cut_first, cut_second


def _assemble(
    tokens: npt.NDArray[np.int32],
    pairs: _Pairs,
    limit: int,
    frame: Frame,
    generator: np.random.Generator,
    facts: dict[str, int],
) -> Examples:
    a_begin, a_length, b_begin, b_length, documents, other = (
        np.array(values, dtype=np.int64)
        for values in (pairs.a_begin, pairs.a_length, pairs.b_begin, pairs.b_length, pairs.document, pairs.other)
    )
    cut_a, cut_b = truncation(a_length, b_length, limit)
    a_begin += generator.binomial(cut_a, 0.5)  # of the tokens cut, each is taken from either end
    b_begin += generator.binomial(cut_b, 0.5)
    a_length -= cut_a
    b_length -= cut_b
    special = np.array([*frame.first, *frame.middle, *frame.last], dtype=np.int32)
    extended = np.concatenate([tokens, *pairs.fetched, special])
    at = len(tokens) + pairs.fetched_tokens + np.cumsum([0, len(frame.first), len(frame.middle)])
    count = len(documents)
    begins = np.stack([np.full(count, at[0]), a_begin, np.full(count, at[1]), b_begin, np.full(count, at[2])], axis=1)
    widths = [np.full(count, len(part)) for part in (frame.first, frame.middle, frame.last)]
    lengths = np.stack([widths[0], a_length, widths[1], b_length, widths[2]], axis=1)
    label = np.array(pairs.label, dtype=np.int8)
    both = np.stack([documents, other], axis=1).reshape(-1)
    return Examples(
        input_ids=gather(extended, begins.reshape(-1), lengths.reshape(-1)),
        offsets=np.concatenate([[0], np.cumsum(lengths.sum(axis=1))]),
        documents=both[both >= 0],
        document_offsets=np.concatenate([[0], np.cumsum(1 + label.astype(np.int64))]),
        facts={
            **facts,
            "random_next": int(label.sum()),
            "cut_pairs": int(np.count_nonzero(cut_a + cut_b)),
            "cut_tokens": int((cut_a + cut_b).sum()),
        },
        second_segment=(lengths[:, :3].sum(axis=1)).astype(np.int32),
        next_sentence_label=label,
    )
