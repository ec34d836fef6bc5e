import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kstest

from pruneofa.data.pretraining.building.example_shards import ShardList
from pruneofa.data.pretraining.building.examples import Frame
from pruneofa.data.pretraining.building.segment_pairs import Draws, pair_examples, truncation
from pruneofa.data.pretraining.building.token_shards import TokenShard, shard_facts, write_token_shard
from pruneofa.data.randomness import Purpose, generator

BERT = Frame(1, 2, (1,), (2,), (2,))
ROBERTA = Frame(1, 2, (1,), (2, 2), (2,))
DOCUMENT_BASE = 100


def shard_of(documents, first_number):
    """A shard of documents given as lists of sentence lengths; the tokens of document n are all DOCUMENT_BASE + n."""
    sentences = np.cumsum([0, *(length for document in documents for length in document)])
    numbers = first_number + np.arange(len(documents))
    counts = [sum(document) for document in documents]
    hashes = np.array([hash_of(number) for number in numbers], dtype=np.int64)
    tokens = np.repeat(DOCUMENT_BASE + numbers, counts).astype(np.int32)
    return TokenShard(np.cumsum([0, *map(len, documents)]), sentences, numbers, hashes, tokens)


def hash_of(number):
    return int(generator(Purpose.ORDER, 17, index=int(number)).integers(0, 2**63))


@pytest.fixture
def corpus_of(tmp_path):
    """Shards on the disk, as the builder leaves them, and what draws from them."""
    opened = []

    def make(shards, validation_below=0):
        for index, shard in enumerate(shards):
            write_token_shard(tmp_path / f"{index}.bin", shard, {})
        paths = tuple(tmp_path / f"{index}.bin" for index in range(len(shards)))
        corpus = ShardList(paths, tuple(shard_facts(path) for path in paths)).corpus(validation_below)
        opened.append(corpus)
        return corpus

    yield make
    for corpus in opened:
        corpus.reader.close()


def random_documents(count, seed=0, sentences=20, longest=40):
    random = np.random.default_rng(seed)
    return [random.integers(1, longest, random.integers(1, sentences)).tolist() for _ in range(count)]


def pairs_of(shard, corpus, frame=BERT, max_length=64, short=0.1, seed=0, members=None):
    members = np.arange(len(shard.numbers)) if members is None else members
    return pair_examples(
        shard,
        members,
        corpus,
        max_length=max_length,
        short_probability=short,
        frame=frame,
        generator=generator(Purpose.PACKING, seed),
    )


def segments(examples, frame):
    """First and second segment, documents and label of every pair, the special tokens checked."""
    for row in range(len(examples)):
        ids = examples.input_ids[examples.offsets[row] : examples.offsets[row + 1]].tolist()
        second = int(examples.second_segment[row])
        head, middle, tail = len(frame.first), len(frame.middle), len(frame.last)
        assert tuple(ids[:head]) == frame.first and tuple(ids[-tail:]) == frame.last
        assert tuple(ids[second - middle : second]) == frame.middle
        a, b = ids[head : second - middle], ids[second:-tail]
        assert a and b and min(a + b) >= DOCUMENT_BASE
        documents = examples.documents[examples.document_offsets[row] : examples.document_offsets[row + 1]].tolist()
        yield a, b, documents, int(examples.next_sentence_label[row])


@pytest.mark.parametrize("frame", [BERT, ROBERTA])
def test_a_pair_is_of_one_document_or_of_two(frame, corpus_of):
    shards = [shard_of(random_documents(150, seed), 150 * seed) for seed in range(3)]
    corpus = corpus_of(shards)
    examples = pairs_of(shards[1], corpus, frame)
    others = []
    for a, b, documents, label in segments(examples, frame):
        owner = a[0] - DOCUMENT_BASE
        assert set(a) == {a[0]} and set(b) == {b[0]} and 150 <= owner < 300
        if label:
            others.append(b[0] - DOCUMENT_BASE)
            assert documents == [owner, others[-1]] and others[-1] != owner
        else:
            assert documents == [owner] and b[0] == a[0]
    assert examples.lengths.max() == 64
    assert examples.facts["random_next"] == len(others)
    # The random segments come from the whole corpus, every document alike.
    assert kstest(np.array(others) / 450, "uniform").pvalue > 1e-4


def test_half_of_the_pairs_are_random_even_where_lone_sentences_force_one(corpus_of):
    for sentences, longest in ((20, 40), (3, 30)):
        shard = shard_of(random_documents(3000, sentences=sentences, longest=longest), 0)
        labels = pairs_of(shard, corpus_of([shard])).next_sentence_label
        low, high = binom.interval(1 - 1e-6, len(labels), 0.5)
        assert low <= labels.sum() <= high


def test_pairs_are_shorter_with_the_probability_asked_for(corpus_of):
    # Long documents, since the last pair of each may be short for want of text.
    shard = shard_of([[1] * 30_000] * 4, 0)
    corpus = corpus_of([shard])
    for probability in (0.0, 0.1, 1.0):
        examples = pairs_of(shard, corpus, short=probability)
        kept = [len(a) + len(b) for a, b, _, label in segments(examples, BERT) if not label]
        lengths = np.array(kept)
        share = np.mean(lengths < 61)
        if probability == 0.1:
            assert 0.07 < share < 0.2
        elif probability == 1.0:
            assert 2 <= lengths.min() <= 4 and share > 0.9
        else:
            assert share < 0.01


def test_the_text_of_a_document_goes_on_from_pair_to_pair(corpus_of):
    """Without truncation, the segments of a document's own pairs are its text, in order and without a gap."""
    documents = [[2] * 40 for _ in range(200)]
    shard = shard_of(documents, 0)
    shard = TokenShard(
        shard.documents,
        shard.sentences,
        shard.numbers,
        shard.hashes,
        np.arange(len(shard.tokens), dtype=np.int32) + 100,
    )
    examples = pairs_of(shard, corpus_of([shard]), max_length=23, short=0.2)
    assert examples.facts["cut_tokens"] == 0
    text: list[int] = []
    for a, b, _, label in segments(examples, BERT):
        text += a if label else a + b
    assert text == shard.tokens.tolist()


def test_validation_pairs_take_random_segments_from_validation_alone(corpus_of):
    shard = shard_of(random_documents(600), 0)
    threshold = int(0.05 * 2**63)
    corpus = corpus_of([shard], threshold)
    validates = shard.hashes < threshold
    for members in (np.flatnonzero(validates), np.flatnonzero(~validates)):
        examples = pairs_of(shard, corpus, members=members)
        assert len(members) > 10 and set(examples.documents.tolist()) <= set(members.tolist())


def test_a_copy_of_a_document_is_never_its_random_next(corpus_of):
    shard = shard_of([[3, 3]] * 4, 0)
    hashes = np.array([5, 5, 5, 9], dtype=np.int64)
    shard = TokenShard(shard.documents, shard.sentences, shard.numbers, hashes, shard.tokens)
    examples = pairs_of(shard, corpus_of([shard]), max_length=16)
    for a, b, _, label in segments(examples, BERT):
        if label:
            assert (a[0] - DOCUMENT_BASE == 3) != (b[0] - DOCUMENT_BASE == 3)


def test_pairs_are_a_function_of_the_seed(corpus_of):
    shard = shard_of(random_documents(50), 0)
    corpus = corpus_of([shard])
    first, again, other = (pairs_of(shard, corpus, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.input_ids, again.input_ids)
    assert not np.array_equal(first.input_ids, other.input_ids)


@given(
    st.lists(st.lists(st.integers(1, 90), min_size=1, max_size=12), min_size=2, max_size=12),
    st.integers(8, 40),
    st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_any_documents_give_pairs_that_fit(tmp_path_factory, documents, max_length, short):
    shard = shard_of(documents, 0)
    path = tmp_path_factory.mktemp("shard") / "0.bin"
    write_token_shard(path, shard, {})
    corpus = ShardList((path,), (shard_facts(path),)).corpus(0)
    examples = pairs_of(shard, corpus, max_length=max_length, short=short)
    assert examples.lengths.max() <= max_length
    assert {a[0] - DOCUMENT_BASE for a, *_ in segments(examples, BERT)} == set(range(len(documents)))
    corpus.reader.close()


@given(st.integers(1, 300), st.integers(1, 300), st.integers(4, 120))
def test_truncation_is_the_reference_s_loop(first, second, limit):
    a, b = first, second
    while a + b > limit:  # truncate_seq_pair of BERT's create_pretraining_data.py
        if a > b:
            a -= 1
        else:
            b -= 1
    cut_first, cut_second = truncation(np.array([first]), np.array([second]), limit)
    assert (first - cut_first[0], second - cut_second[0]) == (a, b)


def test_draws_are_uniform():
    draws = Draws(generator(Purpose.ORDER, 0))
    assert kstest([draws.uniform() for _ in range(10_000)], "uniform").pvalue > 1e-4
    counts = np.bincount([draws.below(7) for _ in range(70_000)], minlength=7)
    assert len(counts) == 7 and abs(counts - 10_000).max() < 500
