"""A short form of benchmarks/engine_soak.py: requests from several threads to two engines, each answer as before."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import engine_soak
from fuzzing.engine_models import make_soak_models

from pruneofa.engine.engine import Engine


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    return [Engine.load(path, threads=2) for path in make_soak_models(tmp_path_factory.mktemp("soak"))]


def test_requests_from_many_threads_get_the_answers_of_one(engines, monkeypatch):
    monkeypatch.setattr(engine_soak, "KINDS", 20)
    monkeypatch.setattr(engine_soak, "SAMPLES_SECONDS", 0.05)
    found = engine_soak.soak(engines, requests=301, threads=8, seed=1)
    assert (found["done"], found["wrong"], found["errors"]) == (301, 0, [])
    assert found["rss_samples"][-1][0] == 301


def test_a_wrong_answer_and_an_error_are_counted(engines, monkeypatch):
    monkeypatch.setattr(engine_soak, "KINDS", 2)
    whole = engine_soak.make_request

    def spoilt(engine, seed):
        request = whole(engine, seed)
        return engine_soak.Request(request.engine, request.ids, request.mask, (b"", b""))

    monkeypatch.setattr(engine_soak, "make_request", spoilt)
    found = engine_soak.soak(engines, requests=10, threads=2, seed=1)
    assert found["wrong"] == found["done"] == 10

    def impossible(engine, seed):
        request = whole(engine, seed)
        return engine_soak.Request(request.engine, request.ids[:0], request.mask, request.answer)

    monkeypatch.setattr(engine_soak, "make_request", impossible)
    assert len(engine_soak.soak(engines, requests=10, threads=2, seed=1)["errors"]) == 2
