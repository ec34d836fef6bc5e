from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneofa.data.pretraining.building.blocks import pack_blocks
from pruneofa.data.pretraining.building.examples import Frame
from pruneofa.data.randomness import Purpose, generator

START, END = 1, 2
FRAME = Frame(START, END, (START,), (END,), (END,))


def pack(documents, max_length, seed=0):
    tokens = np.array([0, *(token for document in documents for token in document)], dtype=np.int32)
    ends = 1 + np.cumsum([len(document) for document in documents])
    begins = ends - [len(document) for document in documents]
    numbers = 100 + np.arange(len(documents))
    packed = pack_blocks(
        tokens, begins, ends, numbers, max_length=max_length, frame=FRAME, generator=generator(Purpose.PACKING, seed)
    )
    ids = np.split(packed.input_ids, packed.offsets[1:-1])
    owners = np.split(packed.documents, packed.document_offsets[1:-1])
    assert len(packed) == len(ids) == len(owners)
    return packed, [block.tolist() for block in ids], [block.tolist() for block in owners]


def pieces_of(block):
    assert block[0] == START and block[-1] == END
    pieces, inner = [], []
    for token in block[1:]:
        if token == END:
            pieces.append(tuple(inner))
            inner = []
        else:
            inner.append(token)
    return pieces


@given(
    st.lists(st.lists(st.integers(3, 50), min_size=1, max_size=40), min_size=1, max_size=60),
    st.integers(8, 24),
)
@settings(max_examples=100, deadline=None)
def test_packing_keeps_every_token_and_every_short_document(documents, max_length):
    packed, blocks, owners = pack(documents, max_length)
    window = max_length - 2
    found = []
    for block, numbers in zip(blocks, owners, strict=True):
        assert 3 <= len(block) <= max_length
        pieces = pieces_of(block)
        assert len(pieces) == len(numbers)
        found += zip(numbers, pieces, strict=True)
    expected = [
        (100 + number, tuple(document[i : i + window]))
        for number, document in enumerate(documents)
        for i in range(0, len(document), window)
    ]
    assert Counter(found) == Counter(expected)
    assert packed.facts == {"cut_documents": sum(len(document) > window for document in documents)}


def test_packing_is_dense_pure_and_shuffled():
    lengths = np.random.default_rng(0).integers(5, 60, 3000)
    documents = [np.full(length, number + 3) for number, length in enumerate(lengths)]
    _, blocks, _ = pack(documents, 128)
    assert np.mean([len(block) for block in blocks]) > 0.98 * 128
    assert pack(documents, 128)[1] == blocks
    assert pack(documents, 128, seed=1)[1] != blocks
    firsts = [block[1] for block in blocks]
    assert abs(np.corrcoef(firsts, np.arange(len(firsts)))[0, 1]) < 0.15
