import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneofa.reporting import units


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (42_467_328, "42.5 MB"),
        (1_340_000_000, "1.3 GB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_bytes_are_decimal(count: int, text: str) -> None:
    assert units.format_bytes(count) == text


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.85, "85.00"), (0.0, "0.00"), (1.0, "100.00"), (0.999999, "99.99"), (0.849999, "85.00")]
)
def test_percent_never_rounds_up_to_everything(fraction: float, text: str) -> None:
    assert units.format_percent(fraction) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (250, "4 min 10 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_seconds(seconds: float, text: str) -> None:
    assert units.format_seconds(seconds) == text


def test_metric_texts_choose_unit_and_decimals_by_column() -> None:
    assert units.metric_texts([0.8304, 0.7994]) == (["83.0", "79.9"], "%")
    assert units.metric_texts([0.8304, 0.8302]) == (["83.04", "83.02"], "%")
    assert units.metric_texts([81.1, None, math.nan]) == (["81.1", "-", "-"], "")


def test_ratio_is_a_dash_where_there_is_none() -> None:
    assert units.format_ratio(None) == "-"
    assert units.format_ratio(13.64) == "13.6x"


def test_clean_text_defuses_terminal_and_bidi_characters() -> None:
    assert units.clean_text("a\x1b[31mb\n c\u202e\ud800\uffff") == "a\ufffd[31mb c\ufffd\ufffd\ufffd"


@settings(deadline=None)
@given(st.text(max_size=80), st.integers(3, 40))
def test_clean_text_is_one_line_within_its_limit(text: str, limit: int) -> None:
    cleaned = units.clean_text(text, limit)
    assert len(cleaned) <= limit
    assert len(cleaned.splitlines()) <= 1
    cleaned.encode()  # no lone surrogate is left


def test_long_text_keeps_both_ends() -> None:
    assert units.clean_text("bert.encoder.layer.0.query", 11) == "bert.\u2026query"
