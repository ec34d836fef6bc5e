"""What counts as a text: the one function that the engine and the data sources ask."""

import math

import numpy as np
import pytest

from pruneofa.errors import DataError
from pruneofa.texts import as_texts, text_fault, valid_text

PAIRS = [("a", "b"), ("c", "d")]


@pytest.mark.parametrize("text", ["", "plain", "Zoë 😀", "\ufffd\x00", np.str_("numpy's")])
def test_any_str_of_whole_characters_is_a_text(text):
    assert text_fault(text) is None
    assert valid_text(text, "x") == text and type(valid_text(text, "x")) is str


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (None, "is None, a missing value, not a text"),
        (math.nan, r"is nan, a missing value \(as pandas has it\), not a text"),
        (np.float32("nan"), "is nan, a missing value"),
        (3, r"is int \(3\), not a text; convert it with str"),
        (2.5, r"is float \(2\.5\), not a text"),
        (True, r"is bool \(True\), not a text"),
        ({"a": 1}, r"is dict \({'a': 1}\), not a text"),
        (b"bytes", r"is bytes, not a text; decode it"),
        ("half \ud83d", r"holds half a surrogate pair \(U\+D83D at character 6\)"),
        ("\udc80", r"holds half a surrogate pair \(U\+DC80 at character 1\)"),
    ],
)
def test_what_is_no_text_is_told_with_place_and_cause(value, cause):
    with pytest.raises(DataError, match=rf"^row 7 {cause}"):
        valid_text(value, "row 7")
    for items in ([value], ["a", value][1:], (item for item in [value])):
        with pytest.raises(DataError, match=rf"^text 0 {cause}"):
            as_texts(items)
    with pytest.raises(DataError, match=rf"^text 1\[1\] {cause}"):
        as_texts([("a", "b"), ["c", value]])


def test_missing_values_of_pandas_are_named():
    pandas = pytest.importorskip("pandas")
    for missing in (pandas.NA, pandas.NaT, pandas.Series(["a", None])[1]):
        with pytest.raises(DataError, match=r"text 1 is .*, a missing value"):
            as_texts(pandas.Series(["a", missing], dtype=object))
    frame = pandas.DataFrame(PAIRS, columns=["first", "second"])
    assert as_texts(frame["first"]) == (["a", "c"], False)
    assert as_texts(frame) == (PAIRS, False)


def test_single_ones_and_many():
    assert as_texts("a") == (["a"], True)
    assert as_texts(("a", "b")) == ([("a", "b")], True)
    assert as_texts(np.array("a")) == (["a"], True)
    assert as_texts(["a", "b"]) == (["a", "b"], False)
    assert as_texts([]) == ([], False) and as_texts(()) == ([], False)
    assert as_texts(np.array(["a", "b"])) == (["a", "b"], False)
    assert as_texts(["a", ("b", "c"), ["d", "e"]]) == (["a", ("b", "c"), ("d", "e")], False)


@pytest.mark.parametrize(
    "pairs", [PAIRS, tuple(PAIRS), [list(pair) for pair in PAIRS], np.array(PAIRS), list(np.array(PAIRS))]
)
def test_pairs_in_any_form(pairs):
    assert as_texts(pairs) == (PAIRS, False)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"text": "a"}, "the argument is dict, not a list of texts: .*; pass one text, or a list of texts or of pairs"),
        ({"a", "b"}, "the argument is set, not a list"),
        (b"abc", "the argument is bytes, not a text; pass one"),
        (None, "the argument is None, a missing"),
        (3, "the argument is int"),
        (("a", "b", "c"), r"the tuple is a tuple of 3; a text \(str\) or a pair"),
        (("a", 1), r"the tuple\[1\] is int \(1\)"),
        ([("a",)], "text 0 is a tuple of 1; a text"),
        (np.array([["a", "b", "c"]]), r"the shape \[1, 3\]; \[texts\], or \[pairs, 2\]"),
    ],
)
def test_other_arguments_are_refused(texts, message):
    with pytest.raises(DataError, match=message):
        as_texts(texts)
