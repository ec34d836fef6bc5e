"""The kill test of benchmarks/endurance.py, shortened: SIGKILL within a step, a re-selection, a checkpoint."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pruneofa

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "endurance.py"


def test_runs_killed_at_random_moments_end_as_if_they_had_not_been(small_world, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(pruneofa.__file__).parents[1]), "CUDA_VISIBLE_DEVICES": ""}
    flags = {
        "kills": 3,
        "model_name_or_path": small_world.model,
        "train_file": small_world.corpus,
        "max_length": 16,
        "max_steps": 20,
        "save_steps": 4,
        "output": tmp_path / "endurance.json",
    }
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    done = subprocess.run([sys.executable, SCRIPT, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    result = json.loads(done.stdout.splitlines()[-1])
    assert result == json.loads((tmp_path / "endurance.json").read_text())
    assert (result["kills"], result["identical"]) == (3, 3)
    assert [run["phase"] for run in result["runs"]] == ["step", "re-selection", "checkpoint"]
    assert all(all(run["identical"].values()) for run in result["runs"])
    assert result["final_sparsity"] == pytest.approx(0.85, abs=1e-3)
    assert "3 of 3 runs ended bit-identical" in done.stdout
