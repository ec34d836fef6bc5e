import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from pruneofa.data.pretraining.masking import MaskedLanguageModelDataset, masked_example
from pruneofa.data.randomness import Purpose, generator
from pruneofa.errors import DataError

VOCABULARY = 200
MASK = 4
SPECIAL = np.arange(VOCABULARY) < 5


def mask(ids, epoch=0, index=0, seed=0, probability=0.15):
    return masked_example(
        np.asarray(ids), SPECIAL, mask_id=MASK, vocabulary_size=VOCABULARY, seed=seed, epoch=epoch, index=index,
        probability=probability,
    )  # fmt: skip


@given(
    st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=60),
    st.integers(0, 2**63),
    st.integers(0, 1000),
    st.integers(0, 2**40),
    st.sampled_from([1e-9, 0.15, 0.9]),
)
@settings(max_examples=200, deadline=None)
def test_labels_and_specials(ids, seed, epoch, index, probability):
    ids = np.array(ids)
    masked, labels = mask(ids, epoch, index, seed, probability)
    chosen = labels != -100
    assert masked.dtype == labels.dtype == np.int64
    assert np.array_equal(labels[chosen], ids[chosen])
    assert np.array_equal(masked[~chosen], ids[~chosen])
    assert not chosen[SPECIAL[ids]].any()
    assert chosen.any() == (~SPECIAL[ids]).any()


def test_rates_are_bert_s():
    ids = np.full(100, 150)
    chosen = kept = replaced = hidden = 0
    for index in range(1000):
        masked, labels = mask(ids, index=index)
        at = labels != -100
        chosen += at.sum()
        kept += (at & (masked == 150)).sum()
        hidden += (at & (masked == MASK)).sum()
        replaced += (at & (masked != 150) & (masked != MASK)).sum()
    for count, total, rate in [
        (chosen, 100_000, 0.15),
        (hidden, chosen, 0.8 + 0.1 / VOCABULARY),
        (kept, chosen, 0.1 + 0.1 / VOCABULARY),
        (replaced, chosen, 0.1 * (1 - 2 / VOCABULARY)),
    ]:
        low, high = binom.interval(1 - 1e-6, total, rate)
        assert low <= count <= high


def test_random_tokens_reach_the_whole_vocabulary():
    seen = set()
    for index in range(300):
        masked, labels = mask(np.full(400, 150), index=index)
        seen |= set(masked[labels != -100].tolist())
    assert seen == set(range(VOCABULARY))


def test_streams_differ_by_every_part_of_the_key():
    keys = [(p, s, e, i) for p in Purpose for s in (0, 1) for e in (0, 1) for i in (0, 1)]
    draws = {tuple(generator(*key).random(4)) for key in keys}
    assert len(draws) == len(keys)


@pytest.fixture
def blocks():
    random = np.random.default_rng(0)
    return [{"input_ids": [2, *random.integers(5, 60, length).tolist(), 3]} for length in random.integers(3, 30, 40)]


def test_the_dataset_is_pure(blocks, bert_tokenizer):
    data = MaskedLanguageModelDataset(blocks, bert_tokenizer, seed=7)
    assert len(data) == 40
    keys = [(epoch, index) for epoch in (0, 1, 5) for index in range(40)]
    forward = {key: data[key] for key in keys}
    np.random.default_rng(0).shuffle(keys)
    np.random.seed(3)
    fresh = MaskedLanguageModelDataset(blocks, bert_tokenizer, seed=7)
    assert all(fresh[key] == forward[key] for key in keys)
    assert all(fresh[index] == forward[0, index] for index in range(40))
    assert sum(forward[0, i]["labels"] != forward[1, i]["labels"] for i in range(40)) > 30
    other = MaskedLanguageModelDataset(blocks, bert_tokenizer, seed=8)
    assert sum(other[i]["labels"] != data[i]["labels"] for i in range(40)) > 30


def test_the_dataset_gives_what_a_model_takes(blocks, bert_tokenizer):
    data = MaskedLanguageModelDataset(blocks, bert_tokenizer, seed=7)
    example = data[3]
    length = len(blocks[3]["input_ids"])
    assert {name: len(values) for name, values in example.items()} == dict.fromkeys(
        ("input_ids", "labels", "attention_mask"), length
    )
    assert example["attention_mask"] == [1] * length
    assert example["labels"][0] == example["labels"][-1] == -100
    assert data.lengths.tolist() == [len(block["input_ids"]) for block in blocks]


def test_a_tokenizer_without_mask_token(blocks, bert_tokenizer):
    import copy

    tokenizer = copy.deepcopy(bert_tokenizer)
    tokenizer.mask_token = None
    with pytest.raises(DataError, match="has no mask token"):
        MaskedLanguageModelDataset(blocks, tokenizer, seed=0)


def test_segment_pairs_have_token_types_a_label_and_documents(bert_tokenizer):
    examples = [
        {
            "input_ids": [2, *range(5, 9 + index), 3, 10, 11, 3],
            "second_segment": 6 + index,
            "next_sentence_label": index % 2,
            "documents": [7, 9][: 1 + index % 2],
        }
        for index in range(6)
    ]
    data = MaskedLanguageModelDataset(examples, bert_tokenizer, seed=0)
    for index in range(6):
        example = data[3, index]
        assert example["token_type_ids"] == [0] * (6 + index) + [1] * 3
        assert example["next_sentence_label"] == index % 2
        assert data.documents(index) == [7, 9][: 1 + index % 2]
        plain = MaskedLanguageModelDataset([{"input_ids": e["input_ids"]} for e in examples], bert_tokenizer, seed=0)
        assert plain[3, index] == {name: example[name] for name in ("input_ids", "labels", "attention_mask")}
        assert plain.documents(index) == []
