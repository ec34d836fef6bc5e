"""The fuzz benchmark itself: some cases pass, a faulty reader is caught, and a run goes on where it was stopped."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from pruneofa.checkpoint import reader

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def fuzz():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("fuzz_files")
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def judged(fuzz, tmp_path_factory):
    seeds = fuzz.make_seeds(tmp_path_factory.mktemp("seeds"))
    return seeds, fuzz.Judge(tmp_path_factory.mktemp("judge"), seeds)


def test_cases_end_in_a_clean_error_or_a_correct_read(fuzz, judged):
    result = fuzz.run_range(0, 400, *judged)
    assert result["faults"] == []
    summary = fuzz.summarise([result])
    assert summary["cases"] == summary["refused"] + summary["read"] == 400
    assert min(summary["refused"], summary["read"]) > 30
    assert {name.partition("/")[0] for name in summary["rows"]} == {"pofa", "quantization", "onnx"}
    assert 30 < summary["checks_that_objected"] < summary["checks_in_the_readers"]


def test_a_case_is_decided_by_its_number(fuzz, judged):
    first, second = (fuzz.run_range(30, 60, *judged) for _ in range(2))
    assert (first["counts"], first["sites"]) == (second["counts"], second["sites"])


def test_every_mutation_of_every_seed_gives_other_bytes_most_often(fuzz, judged):
    import random

    for seed in judged[0]:
        for kind, mutate in fuzz.MUTATIONS[seed.family]:
            made = {mutate(random.Random(number), seed.content) for number in range(12)}
            assert len(made - {seed.content}) > 3, (seed.name, kind)


def test_readers_with_faults_are_caught(fuzz, judged, monkeypatch):
    whole = reader.decode_bitmask

    def wrong(encoded, where):  # objects to nothing, and is off by one value
        dense, counts = whole(encoded, where)
        dense[dense != 0] += 1
        return dense, counts

    monkeypatch.setattr(reader, "decode_bitmask", wrong)
    faults = fuzz.run_range(0, 600, *judged)["faults"]
    assert any("the reader and the page's rules disagree" in fault["error"] for fault in faults)

    def crashing(encoded, where):
        raise IndexError("out of range")

    monkeypatch.setattr(reader, "decode_bitmask", crashing)
    (fault, *_) = fuzz.run_range(0, 100, *judged)["faults"]
    assert fault["error"] == "IndexError: out of range"
    assert fault["family"] == "pofa"


def test_a_run_goes_on_where_it_was_stopped(fuzz, judged, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "CHUNK", 20)
    journal = tmp_path / "journal.jsonl"
    done = [fuzz.run_range(first, 20, *judged) for first in (0, 40)]
    other = {**done[0], "first": 20, "code": "of an older reader"}
    lines = [json.dumps(result) for result in (*done, other)]
    journal.write_text("\n".join(lines) + '\n{"first": 60, "ca', encoding="utf-8")
    assert [result["first"] for result in fuzz.load_journal(journal, 0, 100)] == [0, 40]
    assert fuzz.load_journal(journal, 0, 30) == [json.loads(lines[0])]
    assert fuzz.load_journal(tmp_path / "none", 0, 100) == []
    merged = fuzz.summarise(fuzz.load_journal(journal, 0, 100))
    assert merged["cases"] == 40
