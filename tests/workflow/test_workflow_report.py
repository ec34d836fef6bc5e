"""The report of a run that is whole, and of one that is not."""

import json

import pytest

from pruneofa.errors import ConfigurationError
from pruneofa.workflow.record import read_record
from pruneofa.workflow.report import collect, write_report


def test_a_report_written_anew_is_the_same(run_copy):
    before = (run_copy / "report.json").read_bytes()
    (run_copy / "report.json").unlink()
    write_report(run_copy)
    assert (run_copy / "report.json").read_bytes() == before


def test_a_run_that_was_broken_off_is_reported_as_far_as_it_came(run_copy):
    for stage in ("corpus", "evaluate"):
        record = read_record(run_copy / stage)
        assert record is not None
        record.finished, record.results = False, {}
        record.write(run_copy / stage)
    data = collect(run_copy)
    assert data.rows == []
    assert "corpus" not in data.facts
    assert {stage.name: stage.status for stage in data.stages}["corpus"] == "broken off"
    assert data.tensors


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(ConfigurationError, match=r"holds no recipe\.yaml, so it is no run"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_tensors_are_those_of_the_result(finished_run):
    report = json.loads((finished_run / "report.json").read_text())
    encoder = [tensor for tensor in report["tensors"] if ".encoder." in tensor["name"]]
    assert len(encoder) == 12
    for tensor in encoder:
        assert tensor["size"] - tensor["nonzero"] >= int(0.85 * tensor["size"])
