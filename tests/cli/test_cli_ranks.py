"""Commands started by torchrun: what they print and leave, and that a killed process costs no more than some steps."""

import json
from pathlib import Path

import pytest
from processes import torchrun

from pruneofa.workflow.record import read_record

pytestmark = pytest.mark.slow

STAGES = ("corpus", "teach", "prune", "finetune", "transfer", "quantize", "evaluate", "compress")


def test_a_killed_process_is_started_anew_and_the_run_ends_the_same(small_world, tmp_path):
    run = tmp_path / "run"
    script = Path(__file__).with_name("killed_rank.py")
    code, out, err = torchrun(2, script, "run", small_world.recipe, "--output_dir", run, restarts=1)
    assert code == 0, err
    assert out.splitlines()[-1] == f"report: {run / 'report.html'}"
    assert out.count("report:") == out.count("| dense ") == 1
    assert "exitcode: -9" in err
    assert err.count("prune: running") == err.count("prune: was interrupted, continuing") == 1
    assert err.count("prune: continuing at step 4 of 8") == 1
    assert err.count("teach: unchanged, skipped") == err.count("quantize: done") == 1
    for name in STAGES:
        record = read_record(run / name)
        assert record is not None and record.finished
        assert not [path for path in (run / name).rglob(".*") if path.name != ".stage"], name
    log = json.loads((run / "prune" / ".stage" / "training_log.json").read_text(encoding="utf-8"))
    assert [entry["step"] for entry in log if "loss" in entry] == list(range(1, 9))

    inputs = ("--model_name_or_path", run / "teach", "--corpus_dir", run / "corpus")
    code, out, err = torchrun(2, "-m", "pruneofa", "prune", small_world.recipe, *inputs, "--output_dir", tmp_path / "p")
    assert code == 0, err
    assert out.count("sparsity:") == 1
    for name in ("model.safetensors", ".stage/training_log.json"):
        whole, resumed = (folder / name for folder in (tmp_path / "p", run / "prune"))
        if name.endswith("json"):
            whole, resumed = (
                [entry.get("loss") for entry in json.loads(path.read_text(encoding="utf-8"))]
                for path in (whole, resumed)
            )
            assert whole == resumed
        else:
            assert whole.read_bytes() == resumed.read_bytes()


def test_errors_and_other_commands_are_told_once(small_world, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter").touch()
    inputs = ("--corpus_dir", small_world.corpus.parent, "--output_dir", tmp_path / "letters")
    code, out, err = torchrun(2, "-m", "pruneofa", "teach", small_world.recipe, *inputs)
    assert code == 1 and out == ""
    assert err.count("error:") == err.count("holds files that no stage wrote") == 1
    code, out, err = torchrun(2, "-m", "pruneofa", "recipes")
    assert code == 0, err
    assert out.count("demo-tiny") == 1
