import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from pruneofa.data.batches.batching import EpochBatchSampler, PaddingCollator
from pruneofa.data.pretraining.masking import MaskedLanguageModelDataset
from pruneofa.errors import ConfigurationError, DataError


def batches(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return list(sampler)


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=400),
    st.integers(1, 9),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
)
@settings(max_examples=150, deadline=None)
def test_every_example_once(lengths, size, shuffle, drop_last, group, epoch):
    size = min(size, len(lengths))
    sampler = EpochBatchSampler(lengths, size, 0, shuffle=shuffle, drop_last=drop_last, group_by_length=group)
    found = batches(sampler, epoch)
    assert len(found) == len(sampler)
    assert all(len(batch) == size for batch in found[:-1])
    keys = [key for batch in found for key in batch]
    assert {e for e, _ in keys} == {epoch}
    dropped = len(lengths) % size if drop_last else 0
    assert len(keys) == len(set(keys)) == len(lengths) - dropped
    if not shuffle:
        assert [index for _, index in keys] == list(range(len(keys)))


def test_an_epoch_can_be_taken_up_anywhere():
    lengths = np.random.default_rng(0).integers(1, 90, 1234)
    whole = batches(EpochBatchSampler(lengths, 8, seed=5), epoch=3)
    again = EpochBatchSampler(lengths, 8, seed=5)
    batches(again, epoch=0)  # what came before leaves no trace
    torch.manual_seed(1)
    assert batches(again, epoch=3)[57:] == whole[57:]
    assert [index for b in batches(again, epoch=4) for _, index in b] != [index for b in whole for _, index in b]
    assert batches(EpochBatchSampler(lengths, 8, seed=6), epoch=3) != whole


def test_grouping_saves_padding_and_stays_random():
    lengths = np.random.default_rng(0).integers(1, 128, 4000)

    def padded(group):
        found = batches(EpochBatchSampler(lengths, 16, seed=0, group_by_length=group))
        return sum(len(b) * max(lengths[i] for _, i in b) for b in found) / lengths.sum()

    assert padded(group=False) > 1.7
    assert padded(group=True) < 1.05
    first = [lengths[b[0][1]] for b in batches(EpochBatchSampler(lengths, 16, seed=0))]
    assert abs(np.corrcoef(first, np.arange(len(first)))[0, 1]) < 0.2


def test_sampler_errors():
    with pytest.raises(DataError, match="there is no example"):
        EpochBatchSampler([], 2, 0)
    with pytest.raises(ConfigurationError, match="batch_size is 0; it must be at least 1"):
        EpochBatchSampler([1], 0, 0)
    with pytest.raises(ConfigurationError, match="batch_size is 4, but there are only 3 examples, and drop_last"):
        EpochBatchSampler([1, 1, 1], 4, 0, drop_last=True)


def test_padding_of_token_level_examples():
    batch = PaddingCollator(9)(
        [
            {
                "input_ids": [1, 2, 3],
                "labels": [-100, 5, -100],
                "token_type_ids": [0, 0, 1],
                "attention_mask": [1, 1, 1],
            },
            {"input_ids": [4], "labels": [6], "token_type_ids": [1], "attention_mask": [1]},
        ]
    )
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[1, 2, 3], [4, 9, 9]],
        "labels": [[-100, 5, -100], [6, -100, -100]],
        "token_type_ids": [[0, 0, 1], [1, 0, 0]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
    }
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())


def test_labels_and_other_columns():
    batch = PaddingCollator(0, pad_to_multiple_of=8)(
        [
            {"input_ids": [1, 2], "label": 1, "teacher_logits": [0.5, -1.0], "index": 7},
            {"input_ids": [3], "label": 0, "teacher_logits": np.array([2.0, 0.0]), "index": 8},
        ]
    )
    assert batch["input_ids"].shape == (2, 8)
    assert batch["attention_mask"].sum(1).tolist() == [2, 1]
    assert batch["labels"].tolist() == [1, 0] and batch["labels"].dtype == torch.int64
    assert batch["teacher_logits"].dtype == torch.float32
    assert batch["teacher_logits"].tolist() == [[0.5, -1.0], [2.0, 0.0]]
    assert batch["index"].tolist() == [7, 8] and "label" not in batch


def test_a_full_mask_goes_only_on_request():
    full = [{"input_ids": [1, 2], "attention_mask": [1, 1]}] * 2
    ragged = [*full, {"input_ids": [1], "attention_mask": [1]}]
    assert "attention_mask" in PaddingCollator(0)(full)
    assert "attention_mask" not in PaddingCollator(0, drop_full_mask=True)(full)
    assert "attention_mask" in PaddingCollator(0, drop_full_mask=True)(ragged)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([{"input_ids": [1], "a": 1}, {"input_ids": [1], "b": 1}], "have different columns: a, b"),
        ([{"input_ids": [1], "a": [1]}, {"input_ids": [1], "a": [1, 2]}], "column 'a' has lists of different sizes"),
        ([{"input_ids": [1], "a": "x"}], "column 'a' holds str, not numbers"),
        ([{"input_ids": [1, 2], "labels": [1]}], "column 'labels' has 1 entries where input_ids has 2"),
    ],
)
def test_what_can_not_be_collated(examples, message):
    with pytest.raises(DataError, match=message):
        PaddingCollator(0)(examples)
    with pytest.raises(ConfigurationError, match="pad_to_multiple_of is 0"):
        PaddingCollator(0, pad_to_multiple_of=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_s_batches_do_not_depend_on_its_workers(bert_tokenizer, workers):
    random = np.random.default_rng(0)
    blocks = [{"input_ids": random.integers(5, 60, n).tolist()} for n in random.integers(3, 30, 50)]
    data = MaskedLanguageModelDataset(blocks, bert_tokenizer, seed=1)
    sampler = EpochBatchSampler(data.lengths, 8, seed=1)
    sampler.set_epoch(2)
    collator = PaddingCollator(bert_tokenizer.pad_token_id)
    expected = [collator([data[key] for key in keys]) for keys in sampler]
    loader = DataLoader(data, batch_sampler=sampler, collate_fn=collator, num_workers=workers)
    for batch, wanted in zip(loader, expected, strict=True):
        assert all(torch.equal(batch[name], wanted[name]) for name in wanted)


def test_a_teachers_logits_for_an_answers_ends_are_padded_with_what_never_wins():
    examples = [
        {"input_ids": [5] * n, "start_positions": 1, "teacher_start_logits": [0.5] * n, "teacher_end_logits": [1.5] * n}
        for n in (3, 2)
    ]
    batch = PaddingCollator(0)(examples)
    assert batch["teacher_start_logits"].dtype == torch.float32
    assert batch["teacher_start_logits"].tolist() == [[0.5] * 3, [0.5, 0.5, -1e4]]
    assert torch.softmax(batch["teacher_end_logits"], -1)[1].tolist() == [0.5, 0.5, 0.0]
    assert batch["start_positions"].tolist() == [1, 1]
    examples[0]["teacher_end_logits"] = [0.0]
    with pytest.raises(DataError, match="column 'teacher_end_logits' has 1 entries where input_ids has 3"):
        PaddingCollator(0)(examples)
