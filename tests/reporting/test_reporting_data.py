import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pruneofa.errors import DataError
from pruneofa.reporting.data import Curve, ModelRow, ReportData, StageTime, TensorSparsity, curves_from_log_history

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


@st.composite
def _curves(draw: st.DrawFn) -> Curve:
    steps = sorted(draw(st.sets(st.integers(0, 10**6), max_size=4)))
    values = st.lists(st.none() | FINITE, min_size=len(steps), max_size=len(steps))
    return Curve(draw(TEXT), steps, draw(st.dictionaries(TEXT, values, max_size=2)))


REPORTS = st.builds(
    ReportData,
    title=TEXT,
    rows=st.lists(ROWS, max_size=2),
    curves=st.lists(_curves(), max_size=2),
    tensors=st.lists(
        st.builds(
            TensorSparsity,
            name=TEXT,
            shape=st.lists(st.integers(0, 99), max_size=3).map(tuple),
            nonzero=st.integers(0, 99),
            size=st.integers(0, 99),
            sparsity=FINITE,
        ),
        max_size=2,
    ),
    facts=st.dictionaries(TEXT, TEXT, max_size=2),
    stages=st.lists(st.builds(StageTime, TEXT, FINITE, TEXT), max_size=2),
    recipe_yaml=TEXT,
    notes=st.lists(TEXT, max_size=2),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(REPORTS)
def test_json_round_trip_is_exact(report: ReportData) -> None:
    again = ReportData.from_json(report.to_json())
    assert again == report
    assert again.to_json() == report.to_json()


def test_file_round_trip(report: ReportData, tmp_path: Path) -> None:
    report.save(tmp_path / "report.json")
    assert ReportData.load(tmp_path / "report.json") == report


def test_lists_are_accepted_for_triples_and_shapes() -> None:
    tensor = TensorSparsity("w", [2, 3], 3, 6, 0.5)  # type: ignore[arg-type]
    report = ReportData("t", [], [], [tensor], {}, [("teach", 1.0, "done")], "", [])  # type: ignore[list-item]
    assert ReportData.from_json(report.to_json()) == report
    assert report.stages[0].seconds == 1.0


def test_a_number_that_is_not_finite_is_refused() -> None:
    report = ReportData("t", [], [], [], {}, [StageTime("teach", math.inf, "done")], "", [])
    with pytest.raises(DataError, match="not finite; JSON has none"):
        report.to_json()


def _edit(report: ReportData, path: list[Any], value: Any) -> str:
    document = json.loads(report.to_json())
    place = document
    for key in path[:-1]:
        place = place[key]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["rows"], KeyError, r"x\.json: rows is missing"),
        (["rows"], {}, r"x\.json: rows is \{\}, must be an array"),
        (["rows", 0, "bytes_total"], -1, r"rows\[0\]\.bytes_total is -1, must be a whole number"),
        (["rows", 0, "bytes_total"], True, r"rows\[0\]\.bytes_total is True, must be a whole number"),
        (["rows", 1, "metrics", "f1"], "0.8", r"rows\[1\]\.metrics\.f1 is '0\.8', must be a finite number"),
        (["rows", 0, "encoder_sparsity"], math.nan, r"encoder_sparsity is nan, must be a finite number"),
        (["rows", 0, "encoder_sparsity"], 10**400, r"encoder_sparsity is 10+\.\.\., must be a finite number"),
        (["rows", 0, "extra"], 1, r"rows\[0\] has an unknown key 'extra'; known: name"),
        (["rows", 0], 7, r"rows\[0\] is 7, must be an object"),
        (["facts"], ["a"], r"facts is \['a'\], must be an object"),
        (["title"], None, r"title is None, must be a string"),
        (["format_version"], 2, r"format_version is 2, must be 1, the only layout"),
        (["curves", 0, "steps"], [1], r"curve of stage 'teach': series 'loss' has 240 values for 1 steps"),
        (["notes"], "x" * 500, r"notes is 'x{59}\.\.\., must be an array"),
    ],
)
def test_damaged_documents_are_refused_by_name(report: ReportData, path: list[Any], value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ReportData.from_json(_edit(_trimmed(report), path, value), "x.json")


def _trimmed(report: ReportData) -> ReportData:
    steps = list(range(240))
    return ReportData(
        report.title, report.rows, [Curve("teach", steps, {"loss": [1.0] * 240})], report.tensors, report.facts,
        report.stages, report.recipe_yaml, report.notes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[]", r"document is \[\], must be an object"),
        ("[" * 200_000, "nested too deeply|not valid JSON"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ReportData.from_json(text)


def test_unreadable_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"missing\.json: cannot read the report \(No such file"):
        ReportData.load(tmp_path / "missing.json")
    file = tmp_path / "binary.json"
    file.write_bytes(b'{"\xff"}')
    with pytest.raises(DataError, match="not UTF-8 text"):
        ReportData.load(file)
    monkeypatch.setattr("pruneofa.reporting.data.MAXIMUM_FILE_BYTES", 3)
    with pytest.raises(DataError, match="5 bytes; a report has at most 3"):
        ReportData.load(file)


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
