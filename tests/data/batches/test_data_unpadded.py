import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneofa.data.batches.unpadded import PackingCollator
from pruneofa.errors import ConfigurationError, DataError


def example(number, length, pairs=False):
    ids = list(range(100 * number, 100 * number + length))
    made = {"input_ids": ids, "labels": [-100] * (length - 1) + [ids[-1]], "attention_mask": [1] * length}
    if pairs:
        made |= {
            "token_type_ids": [0] * (length // 2) + [1] * (length - length // 2),
            "next_sentence_label": number % 2,
        }
    return made


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=30), st.one_of(st.none(), st.integers(1, 40)), st.integers(0, 2)
)
@settings(max_examples=100, deadline=None)
def test_every_sequence_is_there_once_and_whole(lengths, row_length, offset):
    examples = [example(number, length, pairs=True) for number, length in enumerate(lengths, 1)]
    batch = PackingCollator(7, position_offset=offset, row_length=row_length)(examples)
    starts, positions = batch["sequence_starts"].tolist(), batch["position_ids"].flatten().tolist()
    ids, labels = batch["input_ids"].flatten().tolist(), batch["labels"].flatten().tolist()
    types = batch["token_type_ids"].flatten().tolist()
    found = []
    for place, start in enumerate(starts):
        number = ids[start] // 100
        wanted = examples[number - 1]
        part = slice(start, start + len(wanted["input_ids"]))
        assert ids[part] == wanted["input_ids"]
        assert labels[part] == wanted["labels"]
        assert types[part] == wanted["token_type_ids"]
        assert positions[part] == list(range(offset, offset + len(wanted["input_ids"])))
        assert batch["next_sentence_label"][place] == wanted["next_sentence_label"]
        found.append(number)
    assert sorted(found) == list(range(1, len(lengths) + 1))
    width = batch["input_ids"].shape[1]
    if row_length is None:
        assert batch["input_ids"].shape == (1, sum(lengths))  # nothing is padding
        assert batch["cu_seq_lens_q"].tolist() == [*starts, sum(lengths)]
        assert batch["max_length_q"] == max(lengths)
        assert "attention_mask" not in batch
    else:
        assert width <= max(row_length, max(lengths))
        assert int(batch["attention_mask"].sum()) == sum(lengths)
        owners = batch["sequence_ids"].flatten().tolist()
        for place, start in enumerate(starts):
            length = len(examples[ids[start] // 100 - 1]["input_ids"])
            assert set(owners[start : start + length]) == {place + 1}
            assert start // width == (start + length - 1) // width  # never over a row's end
        outside = np.array(owners) == 0
        assert (np.array(ids)[outside] == 7).all() and (np.array(labels)[outside] == -100).all()


def test_equal_lengths_lie_side_by_side():
    batch = PackingCollator(0)([example(number, length) for number, length in enumerate([3, 5, 3, 5, 4], 1)])
    assert batch["cu_seq_lens_q"].diff().tolist() == [5, 5, 4, 3, 3]


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([example(1, 3) | {"teacher_logits": [0.5]}], "column 'teacher_logits' can't be packed; allowed: input_ids"),
        ([example(1, 3), example(1, 3, pairs=True)], "have different columns: next_sentence_label, token_type_ids"),
        ([example(1, 3) | {"labels": [1]}], "column 'labels' has 1 entries where input_ids has 3"),
    ],
)
def test_what_can_not_be_packed(examples, message):
    with pytest.raises(DataError, match=message):
        PackingCollator(0)(examples)
    with pytest.raises(ConfigurationError, match="row_length is 0; it must be at least 1"):
        PackingCollator(0, row_length=0)
