"""What a config calls the rows of a head."""

import pytest

from pruneofa.errors import CheckpointError
from pruneofa.folder.label_names import check_distinct, row_names


@pytest.mark.parametrize(
    ("id2label", "names"),
    [
        (None, ["LABEL_0", "LABEL_1"]),
        ({}, ["LABEL_0", "LABEL_1"]),
        ({"0": "neg", "1": "pos"}, ["neg", "pos"]),
        ({1: "pos", 0: "neg"}, ["neg", "pos"]),
        ({"0": None, "1": " "}, ["LABEL_0", "LABEL_1"]),
        ({"0": 1, "1": False}, ["1", "False"]),
    ],
)
def test_each_row_has_a_name(id2label, names):
    assert row_names(id2label, 2) == names


@pytest.mark.parametrize(
    ("id2label", "message"),
    [
        ({"0": "a", "2": "c"}, "no name for row 1 of the head, which has 2 rows"),
        ({"0": "a"}, "no name for row 1"),
        ({"0": "a", "1": "b", "2": "c"}, "names row '2', but the head has 2 rows"),
        ({"0": "a", "1": "b", "-1": "c"}, "names row '-1'"),
        ({"neg": 0, "pos": 1}, "no name for row 0"),
        (["neg", "pos"], "it must be an object with a name for each row"),
    ],
)
def test_names_that_leave_a_doubt_are_refused(id2label, message):
    with pytest.raises(CheckpointError, match=f"config.json: id2label.*{message}|config.json: id2label is .*{message}"):
        row_names(id2label, 2)


def test_two_rows_of_one_name_are_refused():
    check_distinct(["a", "b"])
    with pytest.raises(CheckpointError, match="gives the rows 0 and 2 of the head one name, 'a'"):
        check_distinct(["a", "b", "a"])
