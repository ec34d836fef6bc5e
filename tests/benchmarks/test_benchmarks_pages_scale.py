"""Views of result files about the corpus, steps, full-size models and killed runs."""

import json
from pathlib import Path
from typing import Any

from pages.drawing import render_text

MADE = {
    "machine": {"processor": "a fast one", "cores": "2", "memory": "24 GiB"},
    "commit": "abc",
    "command": "python x.py",
}


def draw(tmp_path: Path, document: dict[str, Any], view: str) -> str:
    (tmp_path / "r.json").write_text(json.dumps(MADE | document), encoding="utf-8")
    mark = f"r.json: {view}"
    text = render_text(f"<!-- results/{mark} -->\n<!-- end of results/{mark} -->\n", tmp_path, tmp_path)
    assert "Commit abc" in text and "`python x.py`" in text
    return text


def cells(text: str, first: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_corpus(tmp_path: Path) -> None:
    row = {"form": "pairs", "tokens": 3_000_000, "tokenizer_seconds": 10.0, "seconds": 14.0, "ratio": 1.43}
    memory = {"megabytes": 24.0, "form": "pairs", "parent": 300_000_000, "worker": 250_000_000, "peak": 800_000_000}
    document = {"megabytes": 30.0, "processes": 2, "rounds": 3, "rows": [row | {"sentence_splitting_share": 0.081}]}
    text = draw(tmp_path, document | {"memory": [memory]}, "corpus")
    assert cells(text, "pairs") == ["pairs", "3,000,000", "10.0", "14.0", "1.43", "8.1"]
    assert cells(text, "24 MB") == ["24 MB", "pairs", "300.0 MB", "250.0 MB", "800.0 MB"]
    assert "largest worker" not in draw(tmp_path, document | {"memory": []}, "corpus")


def test_steps(tmp_path: Path) -> None:
    row = {
        "tokens_per_second": 600.4, "ratio": 1.0, "processor_seconds_per_token": 0.0035, "padding": 0.311,
        "peak_bytes": 3_000_000_000.0, "share_of_matmul_rate": 0.4,
    }  # fmt: skip
    settings = {
        "model": "minilm", "batch_size": 32, "max_length": 128, "tokens": "all", "rounds": 3, "steps": 8,
    }  # fmt: skip
    document = {
        "settings": settings, "bfloat16": True, "threads": 2, "matmul_flops_per_second": 400e9,
        "model_flops_per_token": 2e8,
        "variants": {"transformers": row, "packed": row | {"ratio": 1.62, "padding": 0.0}},
    }  # fmt: skip
    text = draw(tmp_path, document, "steps")
    assert cells(text, "transformers' loop")[1:] == ["600", "1.00", "3.50", "31.1", "3.0 GB", "40.0"]
    assert cells(text, "ours, packed")[2] == "1.62" and "2,000 tokens/s" in text and "time goes" not in text
    profiled = draw(tmp_path, document | {"profile": {"gelu": 0.1, "products": 0.9}}, "steps")
    assert "Where the time goes: products 90 %, gelu 10 %." in profiled


def test_full_size(tmp_path: Path) -> None:
    stages = {"teach": {"seconds_per_step": 3.216, "processor_seconds_per_step": 6.1, "peak_bytes": 4_100_000_000}}
    model = {"parameters": 110_000_000, "prunable_weights": 84_934_656, "stages": stages}
    settings = {"batch_size": 8, "length": 128, "steps": 4}
    document = {"models": {"bert-base": model}, "settings": settings, "device": "cpu", "threads": 2}
    found = cells(draw(tmp_path, document, "full size"), "bert-base")
    assert found == ["bert-base", "110,000,000", "84,934,656", "teach", "3.22", "6.10", "4.1 GB"]


def test_endurance(tmp_path: Path) -> None:
    def run(phase: str, same: bool) -> dict[str, Any]:
        return {
            "phase": phase, "half_written": phase == "checkpoint", "damaged": False,
            "identical": {"weights": True, "masks": same},
        }  # fmt: skip

    runs = [run("step", True), run("checkpoint", True), run("step", False)]
    document = {"runs": runs, "kills": 3, "identical": 2, "steps": 60, "checkpoints_every": 10}
    text = draw(tmp_path, document, "endurance")
    assert cells(text, "step") == ["step", "2", "1"] and cells(text, "all") == ["all", "3", "2"]
    assert "1 of the kills left a checkpoint half written; in 0 runs" in text
