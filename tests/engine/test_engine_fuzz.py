"""benchmarks/engine_fuzz.py: a few hundred cases, and that faults, deaths and hangs are seen."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")  # the mutations of the file fuzzing, which are used here too, know ONNX files
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import engine_fuzz  # noqa: E402
from fuzzing import decoder_cases, engine_cases  # noqa: E402
from fuzzing.engine_models import make_engine_seeds  # noqa: E402


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    make_engine_seeds(folder)
    return folder


@pytest.fixture(scope="module")
def cases(seeds, tmp_path_factory):
    return engine_cases.EngineCases(seeds, tmp_path_factory.mktemp("cases"))


@pytest.mark.slow
def test_cases_end_in_an_answer_or_a_clean_error(cases):
    seen = {"/".join(cases.run(number)[::2]) for number in range(400)}
    families = ("file", "decoder", "arrays", "parts")
    assert seen == {f"{family}/{end}" for family in families for end in ("refused", "computed")}


@pytest.mark.slow
def test_a_case_is_decided_by_its_number(cases):
    assert [cases.run(number) for number in range(1000, 1040)] == [cases.run(number) for number in range(1000, 1040)]


@pytest.mark.slow
def test_a_decoder_that_disagrees_is_a_fault(cases, monkeypatch):
    monkeypatch.setattr(decoder_cases.packed_reference, "decode_packed", lambda *_: np.zeros(1))
    with pytest.raises(AssertionError):
        for number in range(200):
            cases.run(number)


@pytest.mark.parametrize(("program", "message"), [("import os; os.abort()", "ended with -6"), ("while 1: pass", "-9")])
def test_a_child_that_dies_or_hangs_costs_one_case(seeds, monkeypatch, program, message):
    def start(args, seeds, first, cases, *, show=False):
        (seeds / "progress").write_text(str(first + 7))
        (seeds / "result").write_text(json.dumps({"counts": {}, "faults": []}))
        (seeds / "log").write_text("")
        return engine_fuzz.subprocess.Popen([sys.executable, "-c", program])

    monkeypatch.setattr(engine_fuzz, "start", start)
    monkeypatch.setattr(engine_fuzz, "HANG_SECONDS", 0.5)
    result = engine_fuzz.chunk(None, seeds, 100)
    assert (result["first"], result["cases"]) == (100, 8)
    assert [fault["case"] for fault in result["faults"]] == [107]
    assert message in result["faults"][0]["error"]
