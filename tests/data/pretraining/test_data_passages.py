"""Texts for a sentence encoder: each of one document, whole sentences, every token once."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneofa.data.pretraining.building.examples import Frame
from pruneofa.data.pretraining.building.passages import passage_examples
from pruneofa.data.pretraining.building.token_shards import TokenShard
from pruneofa.data.randomness import Purpose, generator

START, END = 1, 2


def shard_of(documents):
    """Documents are lists of sentence lengths; every token is another number."""
    sentences = np.cumsum([0, *(length for document in documents for length in document)])
    numbers = 50 + np.arange(len(documents))
    tokens = np.arange(sentences[-1], dtype=np.int32) + 100
    return TokenShard(np.cumsum([0, *map(len, documents)]), sentences, numbers, numbers, tokens)


def texts_of(shard, members, max_length, seed=0):
    made = passage_examples(
        shard,
        np.array(members),
        max_length=max_length,
        frame=Frame(START, END, (), (), ()),
        generator=generator(Purpose.PACKING, seed),
    )
    texts = [ids.tolist() for ids in np.split(made.input_ids, made.offsets[1:-1])]
    assert all(text[0] == START and text[-1] == END and len(text) <= max_length for text in texts)
    return made, [text[1:-1] for text in texts]


@given(
    st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=10), min_size=1, max_size=12),
    st.integers(8, 24),
    st.data(),
)
@settings(max_examples=100, deadline=None)
def test_every_token_once_in_order_and_each_text_of_one_document(documents, max_length, data):
    shard = shard_of(documents)
    members = sorted(data.draw(st.sets(st.integers(0, len(documents) - 1), min_size=1)))
    made, texts = texts_of(shard, members, max_length)
    bounds = shard.sentences[shard.documents]
    owner_of = {
        int(token): 50 + member for member in members for token in shard.tokens[bounds[member] : bounds[member + 1]]
    }
    assert [token for text in texts for token in text] == list(owner_of)
    assert [{owner_of[token] for token in text} for text in texts] == [{owner} for owner in made.documents.tolist()]
    ends = {int(end) + 99 for end in shard.sentences[1:]}
    long = np.flatnonzero(np.diff(shard.sentences) > max_length - 2)
    inside_long = {int(t) + 100 for s in long for t in range(shard.sentences[s], shard.sentences[s + 1])}
    assert {text[-1] for text in texts} <= ends | inside_long


def test_short_and_long_texts_occur_and_the_seed_decides_which():
    shard = shard_of([[3] * 400 for _ in range(20)])
    _, texts = texts_of(shard, range(20), 130)
    lengths = np.array([len(text) for text in texts])
    # Targets are log-uniform from 4 to 128: as many texts below 23 tokens as above.
    assert 0.4 < np.mean(lengths < 23) < 0.65
    assert lengths.min() == 3 and lengths.max() > 120
    assert texts == texts_of(shard, range(20), 130)[1] != texts_of(shard, range(20), 130, seed=1)[1]
