"""A whole benchmark of tiny models: what the document holds, which form is taken, who is left out."""

import json
from typing import ClassVar

import numpy as np
import pytest

from pruneofa.benchmarking import competition
from pruneofa.benchmarking.competition import ModelFacts, compete
from pruneofa.benchmarking.config import BenchConfig
from pruneofa.benchmarking.contestants import Contestant, Form
from pruneofa.benchmarking.process import WorkerError
from pruneofa.errors import ConfigurationError

FACTS = ModelFacts(vocabulary=60, longest=520)
CONFIG = BenchConfig(lengths=(5, 16), batches=(1, 3), max_tokens=32, threads=(1,), peers=(), repeats=3, pause=0.0)


class FakeWorker:
    """Answers and times as its form's settings say, without a process."""

    closed: ClassVar[list[str]] = []

    def __init__(self, form, threads):
        if form.settings.get("fails"):
            raise WorkerError(f"{form.runtime} ({form.name}): out of order")
        self.form, self.threads, self.load_seconds, self.pid = form, threads, 0.5, 1
        self.facts = {"kernel": "fake"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        FakeWorker.closed.append(self.form.name)

    def prepare(self, inputs):
        self.inputs = inputs
        if self.form.settings.get("fails_to_run"):
            raise WorkerError(f"{self.form.runtime} ({self.form.name}): no such operator")

    def run(self, indices):
        return [self.form.settings.get("seconds", 1.0)] * len(indices)

    def answer(self, index):
        ids = self.inputs[index]["input_ids"]
        values = np.stack([ids.sum(axis=1), ids[:, 0]], axis=1).astype(np.float32)
        return {"logits": values * self.form.settings.get("sign", 1.0)}

    def memory(self):
        return 1000


@pytest.fixture
def fakes(monkeypatch):
    FakeWorker.closed = []
    monkeypatch.setattr(competition, "WorkerProcess", FakeWorker)


def form(name, **settings):
    return Form("fake", name, "nowhere", settings)


def test_the_quickest_form_that_answers_alike_is_timed(fakes):
    forms = (form("slow", seconds=3.0), form("quick", seconds=2.0), form("liar", seconds=0.1, sign=-1.0))
    found = compete([Contestant("engine", (form("own"),)), Contestant("peer", forms)], FACTS, CONFIG)
    for case in found["cases"]:
        own, peer = case["rows"]
        assert (own["form"], peer["form"]) == ("own", "quick")
        assert (own["ratio"], peer["ratio"]) == (1.0, 2.0)
        assert peer["trials_seconds"] == {"quick": 2.0, "slow": 3.0}
        assert own["agreement"] is None
        assert peer["agreement"]["same"] == 1.0
    assert found["faults"] == ["peer (liar): its answers differ by 2.00 of their size; left out"]
    assert sorted(FakeWorker.closed) == ["liar", "own", "quick", "slow"]


def test_another_model_need_not_agree(fakes):
    other = Contestant("dense", (form("other", sign=-1.0),), model="dense")
    found = compete([Contestant("engine", (form("own"),), "sparse"), other], FACTS, CONFIG)
    assert [row["name"] for row in found["cases"][0]["rows"]] == ["engine", "dense"]
    assert found["faults"] == []


def test_a_form_that_fails_is_told_once_and_the_rest_goes_on(fakes):
    forms = (form("broken", fails=True), form("lame", fails_to_run=True))
    settings = CONFIG.model_copy(update={"threads": (1, 2)})
    found = compete([Contestant("engine", (form("own"),)), Contestant("peer", forms)], FACTS, settings)
    assert [len(case["rows"]) for case in found["cases"]] == [1] * 6
    assert found["faults"] == ["fake (broken): out of order", "fake (lame): no such operator"]


def test_the_first_contestant_must_run(fakes):
    with pytest.raises(WorkerError, match="out of order"):
        compete([Contestant("engine", (form("own", fails=True),))], FACTS, CONFIG)
    with pytest.raises(WorkerError, match="no such operator"):
        compete([Contestant("engine", (form("own", fails_to_run=True),))], FACTS, CONFIG)
    with pytest.raises(ConfigurationError, match="lengths: is 16, this model takes 8 tokens at most"):
        compete([Contestant("engine", (form("own"),))], ModelFacts(60, 8), CONFIG)


@pytest.mark.slow
def test_a_real_one_gives_a_document_of_plain_values(tiny_model):
    own = Form("engine", "int8", str(tiny_model))
    portable = Form("engine", "portable", str(tiny_model), {"kernel": "portable"})
    settings = CONFIG.model_copy(update={"threads": (1, 2)})
    found = compete([Contestant("engine", (own,)), Contestant("portable", (portable,))], FACTS, settings)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    shapes = [(case["threads"], case["batch"], case["length"]) for case in found["cases"]]
    assert shapes == [(t, b, n) for t in (1, 2) for b, n in ((1, 5), (1, 16), (3, 5))]
    for case in found["cases"]:
        assert (case["repeats"], case["calls"]) == (3, 3)
        for row in case["rows"]:
            assert 0 < row["least_seconds"] <= row["median_seconds"] <= row["p95_seconds"]
            assert row["first_seconds"] > 0
            assert row["items_per_second"] == case["batch"] / row["median_seconds"]
        assert case["rows"][1]["agreement"]["difference"] == 0.0  # every kernel gives the same bits
    assert [(row["threads"], row["name"]) for row in found["loads"]] == [
        (threads, name) for threads in (1, 2) for name in ("engine", "portable")
    ]
    assert found["loads"][1]["facts"]["kernel"] == "portable"


def test_each_shape_is_told_as_it_is_done(fakes):
    told = []
    compete(
        [Contestant("engine", (form("own"),))], FACTS, CONFIG, lambda found: told.append(json.loads(json.dumps(found)))
    )
    assert [len(found["cases"]) for found in told] == [1, 2, 3, 4][: len(told)]
    assert len(told) >= 3
    assert all(len(found["loads"]) == 1 for found in told)
