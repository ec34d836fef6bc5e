import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneofa.data.pretraining.building.examples import Frame
from pruneofa.data.pretraining.building.token_shards import TokenShard
from pruneofa.data.pretraining.building.whole_sentences import sentence_examples
from pruneofa.data.randomness import Purpose, generator

START, END = 1, 2
FRAME = Frame(START, END, (START,), (END,), (END,))
Documents = list[list[int]]


def shard_of(documents):
    """Documents are lists of sentence lengths; every token is another number."""
    sentences = np.cumsum([0, *(length for document in documents for length in document)])
    numbers = 50 + np.arange(len(documents))
    tokens = np.arange(sentences[-1], dtype=np.int32) + 100
    return TokenShard(np.cumsum([0, *map(len, documents)]), sentences, numbers, numbers, tokens)


def examples_of(shard, members, max_length, short=0.0, seed=0):
    made = sentence_examples(
        shard,
        np.array(members),
        max_length=max_length,
        short_probability=short,
        frame=FRAME,
        generator=generator(Purpose.PACKING, seed),
    )
    ids = [ids.tolist() for ids in np.split(made.input_ids, made.offsets[1:-1])]
    owners = [owner.tolist() for owner in np.split(made.documents, made.document_offsets[1:-1])]
    assert len(made) == len(ids) == len(owners)
    return made, ids, owners


@given(
    st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=10), min_size=1, max_size=12),
    st.integers(8, 24),
    st.floats(0, 1),
    st.data(),
)
@settings(max_examples=150, deadline=None)
def test_every_token_once_in_order_and_sentences_whole(documents, max_length, short, data):
    shard = shard_of(documents)
    members = sorted(data.draw(st.sets(st.integers(0, len(documents) - 1), min_size=1)))
    made, ids, owners = examples_of(shard, members, max_length, short)
    bounds = shard.sentences[shard.documents]
    owner_of = {
        int(token): 50 + member for member in members for token in shard.tokens[bounds[member] : bounds[member + 1]]
    }
    text, ends = [], set()
    for example, documents_of in zip(ids, owners, strict=True):
        assert example[0] == START and example[-1] == END and len(example) <= max_length
        pieces: list[list[int]] = [[]]
        for token in example[1:-1]:
            if token == END:
                pieces.append([])
            else:
                pieces[-1].append(token)
        assert [{owner_of[token] for token in piece} for piece in pieces] == [{owner} for owner in documents_of]
        text += [token for piece in pieces for token in piece]
        ends.add(text[-1])
    assert text == list(owner_of)
    # An example ends with a sentence, unless that is too long for one.
    sentence_ends = {int(end) + 99 for end in shard.sentences[1:]}
    long = np.flatnonzero(np.diff(shard.sentences) > max_length - 2)
    inside_long = {int(t) + 100 for s in long for t in range(shard.sentences[s], shard.sentences[s + 1])}
    assert ends <= sentence_ends | inside_long
    lengths = [length for member in members for length in documents[member]]
    assert made.facts == {"cut_sentences": sum(length > max_length - 2 for length in lengths)}


def test_examples_are_as_full_as_whole_sentences_allow():
    documents = [[5] * 11 for _ in range(30)]
    _, ids, _ = examples_of(shard_of(documents), range(30), 32)
    for example, following in itertools.pairwise(ids):
        # Another sentence would not have fitted, with its closing token where it ends a document.
        closes = example.count(END) - (0 if (example[-2] - 99) % 55 == 0 else 1)
        assert 1 + sum(token >= 100 for token in example) + closes + 5 + 1 > 32
        assert following[1] == example[-2] + 1


def test_one_in_ten_is_short():
    documents = [[1] * 500 for _ in range(200)]
    _, ids, _ = examples_of(shard_of(documents), range(200), 64, short=0.1)
    share = np.mean([len(example) < 60 for example in ids])
    assert 0.06 < share < 0.14
    _, again, _ = examples_of(shard_of(documents), range(200), 64, short=0.1)
    _, other, _ = examples_of(shard_of(documents), range(200), 64, short=0.1, seed=1)
    assert ids == again != other
