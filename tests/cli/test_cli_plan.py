"""The command `plan`: what it prints and as JSON, from rates, from steps that are stated or taken; its refusals."""

import json

import pytest

PRETRAINING = ("teach", "prune")


@pytest.fixture
def planned(cli, small_world):
    """Call `plan --json` on the small recipe."""

    def call(*flags):
        outcome = cli("plan", small_world.recipe, *flags, "--json")
        assert outcome.code == 0, outcome.err
        return json.loads(outcome.out)

    return call


def on(plan, stage, devices=1):
    entries = next(found["on"] for found in plan["stages"] if found["stage"] == stage)
    return next(entry for entry in entries if entry["devices"] == devices)


def test_without_a_device_it_tells_work_and_memory_but_no_time(planned):
    plan = planned()
    assert [stage["stage"] for stage in plan["stages"]] == ["teach", "prune", "finetune", "transfer", "quantize"]
    assert plan["left_out"] == {} and plan["total_seconds"] == {"1": None}
    tokens = {stage["stage"]: stage["tokens"] for stage in plan["stages"]}
    assert tokens["prune"] == 2 * tokens["teach"] == 8 * 8 * 16
    assert [stage["student"]["prunable"] for stage in plan["stages"]] == [14_336] * 5
    for stage in plan["stages"]:
        entry = stage["on"][0]
        assert (entry["step_seconds"], entry["fits"], entry["largest_batch"]) == (None, None, None)
        assert entry["memory"]["total"] > 4 * 3 * stage["student"]["parameters"]  # weights, and two moments


def test_time_follows_from_rate_and_share(planned):
    rate = ("--peak_flops", 1e7, "--memory_bytes", 1e9, "--utilisation", 0.5)
    plan = planned(*rate, "--devices", 1, "--devices", 2)
    fast = planned("--peak_flops", 1e30)
    assert plan["total_seconds"]["1"] == pytest.approx(plan["total_flops"] / 0.5e7)
    assert plan["total_seconds"]["2"] == pytest.approx(plan["total_seconds"]["1"] / 2)
    assert on(plan, "prune")["basis"] == "rate" and on(plan, "prune")["fits"] is True
    assert on(plan, "prune", 2)["batch"] == 4
    # However fast the device, each batch's kernels must be launched.
    assert (on(fast, "prune")["basis"], on(fast, "prune")["step_seconds"]) == ("launch", 0.03)


def test_a_device_too_small_is_told(planned):
    entry = on(planned("--peak_flops", 1e9, "--memory_bytes", 1e5), "prune")
    assert (entry["fits"], entry["largest_batch"]) == (False, 0)


def test_steps_that_are_stated(planned):
    plan = planned("--step_seconds", "prune=0.5", "--step_seconds", "teach=0.25")
    assert {stage: on(plan, stage)["seconds"] for stage in PRETRAINING} == {"teach": 1.0, "prune": 4.0}
    assert on(plan, "prune")["basis"] == "stated" and on(plan, "finetune")["seconds"] is None


@pytest.mark.slow
@pytest.mark.parametrize("with_corpus", [False, True])
def test_steps_that_are_taken(cli, small_world, finished_run, with_corpus):
    corpus = ("--corpus_dir", finished_run / "corpus") if with_corpus else ()
    outcome = cli("plan", small_world.recipe, "--measure", 1, *corpus, "--json")
    assert outcome.code == 0, outcome.err
    plan = json.loads(outcome.out)
    assert [(found["stage"], found["steps"], found["batch"]) for found in plan["measured"]] == [
        ("teach", 1, 8),
        ("prune", 1, 8),
    ]
    for found in plan["measured"]:
        entry = on(plan, found["stage"])
        assert (entry["basis"], entry["step_seconds"]) == ("measured", found["seconds"])
    assert on(plan, "transfer")["step_seconds"] is None
    longest = {stage["lengths"]["longest"] for stage in plan["stages"][:2]}
    assert longest == ({12} if with_corpus else {16})  # its sentences have ten words; unseen, as its settings allow


def test_the_tables_name_every_stage_and_assumption(cli, small_world):
    outcome = cli("plan", small_world.recipe, "--kind", "a100-80gb", "--devices", 2)
    assert outcome.code == 0, outcome.err
    for word in ("recipe small", "NVIDIA A100, 80 GB", "35 %", "work", "memory of one device", "checkpoints", "time"):
        assert word in outcome.out, word
    for stage in ("teach", "prune", "finetune", "transfer", "quantize"):
        assert sum(line.startswith(f"| {stage} ") or f"| {stage} " in line for line in outcome.out.splitlines()) >= 3


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--kind", "h100"), "--kind is 'h100'; allowed: here, a10"),
        (("--kind", "a10", "--peak_flops", 1e12), "--kind a10 has its own rate and memory"),
        (("--peak_flops", -1), "--peak_flops is -1.0; allowed: a number above 0"),
        (("--peak_flops", "nan"), "--peak_flops is nan; allowed"),
        (("--utilisation", 2), "--utilisation is 2.0; allowed: above 0, at most 1"),
        (("--step_seconds", "prune=fast"), "--step_seconds 'prune=fast': allowed: STAGE=SECONDS"),
        (("--step_seconds", "pruning=1"), "--step_seconds 'pruning=1': allowed"),
        (("--step_seconds", "prune=1", "--devices", 1, "--devices", 2), "holds for one number of devices"),
        (("--devices", 3), "3"),
        (("--measure", 100), "too few to measure 100 of them"),
    ],
)
def test_wrong_use_is_refused(cli, small_world, flags, complaint):
    outcome = cli("plan", small_world.recipe, *flags)
    assert (outcome.code, outcome.out) == (2, ""), outcome.out
    assert complaint in " ".join(outcome.err.split())
