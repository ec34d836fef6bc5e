import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneofa.errors import DataError
from pruneofa.reporting.data import FORMAT_VERSION, Curve, ModelRow, ReportData, StageTime, curves_from_log_history

FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(alphabet=st.characters(), max_size=8)
ROWS = st.builds(
    ModelRow,
    name=TEXT,
    metrics=st.dictionaries(TEXT, FINITE, max_size=2),
    encoder_sparsity=FINITE,
    encoder_parameters=st.integers(0, 2**70),
    bytes_encoder=st.integers(0, 2**70),
    bytes_total=st.integers(0, 2**70),
    nominal_ratio=st.none() | FINITE,
    real_ratio=st.none() | FINITE,
    file=TEXT,
    note=TEXT,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, max_size=2), st.dictionaries(TEXT, TEXT, max_size=2))
def test_the_file_holds_every_value_exactly(rows: list[ModelRow], facts: dict[str, str]) -> None:
    report = ReportData("t", rows, [], [], facts, [StageTime("teach", 1.5, "done")], "seed: 1", ["a note"])
    document = json.loads(report.to_json())
    assert document["format_version"] == FORMAT_VERSION
    assert [ModelRow(**row) for row in document["rows"]] == rows
    assert document["facts"] == facts
    assert document["stages"] == [{"name": "teach", "seconds": 1.5, "status": "done"}]
    assert set(document) == {"format_version", *(field.name for field in dataclasses.fields(ReportData))}


def test_a_saved_report_is_its_json(report: ReportData, tmp_path: Path) -> None:
    report.save(tmp_path / "report.json")
    document = json.loads((tmp_path / "report.json").read_text(encoding="ascii"))
    assert document == json.loads(report.to_json())
    assert Curve(**document["curves"][0]) == report.curves[0]


def test_a_number_that_is_not_finite_is_refused() -> None:
    report = ReportData("t", [], [], [], {}, [StageTime("teach", math.inf, "done")], "", [])
    with pytest.raises(DataError, match="not finite; JSON has none"):
        report.to_json()


def test_a_curve_needs_a_value_for_each_step() -> None:
    with pytest.raises(DataError, match="curve of stage 'teach': series 'loss' has 2 values for 1 steps"):
        Curve("teach", [1], {"loss": [1.0, 2.0]})


def test_curves_merge_entries_of_one_step_and_drop_what_is_no_number() -> None:
    curve = curves_from_log_history(
        "prune",
        [
            {"step": 20, "loss": 2.0, "grad_norm": math.inf},
            {"step": 10, "loss": np.float32(3.0), "learning_rate": 1e-4, "note": "warm", "flag": True},
            {"step": 20, "eval_loss": 2.5, "loss": math.nan, "none": None, "list": [1]},
            {"loss": 9.0},
            {"step": "x", "loss": 9.0},
            {"step": 1.5, "loss": 9.0},
            {"step": 30, "loss": math.nan},
            {"step": 20, "loss": 1.5},
        ],
    )
    assert curve == Curve(
        "prune", [10, 20], {"loss": [3.0, 1.5], "learning_rate": [1e-4, None], "eval_loss": [None, 2.5]}
    )
    assert curve.points("eval_loss") == ([20], [2.5])
    assert curve.points("absent") == ([], [])


def test_an_empty_log_gives_an_empty_curve() -> None:
    assert curves_from_log_history("teach", []) == Curve("teach", [], {})
