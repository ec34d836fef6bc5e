"""The views of the engine's benchmark on a page of results."""

from typing import Any

import pytest
from pages.drawing import render_text
from pages.engine_views import AUTHORS, VIEWS, break_even_text


def row(name: str, seconds: float, model: str = "m", form: str = "int8", **more: Any) -> dict[str, Any]:
    agreement = {"difference": 0.01, "largest": 2.0, "relative": 0.1, "same": 0.995}
    return {
        "name": name, "model": model, "form": form, "median_seconds": seconds, "p95_seconds": 1.2 * seconds,
        "first_seconds": 2 * seconds,
        "least_seconds": seconds, "items_per_second": 1 / seconds, "ratio": seconds / 0.010, "load_seconds": 0.5,
        "memory_bytes": 5_000_000, "agreement": None if name == "engine" else agreement, "trials_seconds": {}, **more,
    }  # fmt: skip


@pytest.fixture
def document() -> dict[str, Any]:
    rates = {"actual_products_per_second": 1e9, "dense_equivalent_products_per_second": 10e9}
    rows = [
        row("engine", 0.010, **rates),
        row("openvino", 0.045, trials_seconds={"int8": 0.044, "int8, NNCF": 0.050}),
        row("engine, float attention", 0.012, model=AUTHORS),
    ]
    case = {"threads": 2, "batch": 1, "length": 128, "repeats": 3, "others_cores": 0.0, "rows": rows}
    return {
        "model": {
            "name": "model.pofa", "type": "bert", "int8": True, "attention_products": "int8", "sparsity": 0.9,
            "bytes": 9_000_000,
        },
        "machine": {"processor": "P", "cores": "2", "memory": "24 GiB", "instruction sets": "avx2"},
        "packages": {"openvino": "2026.1.0-17-abc"},
        "kernel": "avx512_vnni",
        "cases": [case],
        "verdict": ["It is quicker."],
        "commit": "c0ffee",
        "command": "python benchmarks/engine.py",
    }  # fmt: skip


def sparsities(**more: Any) -> dict[str, Any]:
    case = {
        "threads": 1, "batch": 1, "length": 128, "break_even": 0.62,
        "points": [[0.5, 0.06], [0.9, 0.012]],
        "peer": {"name": "openvino", "form": "int8", "median_seconds": 0.05},
    }  # fmt: skip
    return {**case, **more}


def test_break_even_is_told_as_far_as_it_was_measured() -> None:
    assert break_even_text(sparsities()) == "62"
    assert break_even_text(sparsities(break_even=None, points=[[0.5, 0.01], [0.9, 0.005]])) == "below 50"
    assert break_even_text(sparsities(break_even=None, points=[[0.5, 0.2], [0.9, 0.1]])) == "above 90"


def test_views_draw_the_benchmark_of_the_engine(document: dict[str, Any]) -> None:
    part = {
        "sparsities": [sparsities()],
        **{key: document[key] for key in ("machine", "packages", "commit", "command")},
    }
    rates = {"actual_products_per_second": 1e9, "dense_equivalent_products_per_second": 10e9}
    alone = {
        **document["cases"][0],
        "threads": 1,
        "rows": [row("engine", 0.018, **rates), row("openvino", 0.0675), row("engine", 0.02, model=AUTHORS)],
    }
    document["cases"].append(alone)
    documents = {"engine": {"parts": {"base": document, "sparsity": part}}}
    found = {name: view(documents) for name, view in VIEWS.items()}
    line = next(line for line in found["speed"].markdown.splitlines() if "1 x 128" in line)
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "model.pofa, int8, 90 %", "1 x 128", "2", "10.0", "-", "12.0", "45.0 (4.5x)", "-", "-",
    ]  # fmt: skip
    assert list(found["speed"].figures) == ["engine-base.svg"]
    (line,) = (line for line in found["speed short"].markdown.splitlines() if "1 x 128" in line)
    assert "18.0" in line  # one thread
    assert [line.split("|")[-6:-4] for line in found["speed first"].markdown.splitlines() if "1 x 128" in line] == [
        ["             20.0 ", "             2.00 "],
        ["             36.0 ", "             2.00 "],
    ]
    assert "90.0 (4.5x)" in found["speed first"].markdown
    (line,) = (line for line in found["speed threads"].markdown.splitlines() if "1 x 128" in line)
    assert [cell.strip() for cell in line.strip("|").split("|")][1:] == ["1 x 128", "2", "1.80", "1.50", "-", "-"]
    assert "50.0 (int8)" in found["speed sparsity"].markdown
    assert "10.0" in found["speed rates"].markdown
    notes = found["speed notes"].markdown
    assert "OpenVINO: answers differ by 0.01 at most, of values up to 2; labels equal in 99.5 % or more" in notes
    assert "Versions: OpenVINO 2026.1.0." in notes
    assert notes.count("Command: `python benchmarks/engine.py`") == 1


def test_a_page_draws_them_beside_its_text(document: dict[str, Any], tmp_path: Any) -> None:
    import json

    (tmp_path / "engine.json").write_text(json.dumps({"parts": {"base": document}}), encoding="utf-8")
    mark = "<!-- results/engine.json: speed -->\n<!-- end of results/engine.json: speed -->\n"
    assert "| model.pofa, int8, 90 %" in render_text(f"text\n{mark}", tmp_path, tmp_path)
    assert (tmp_path / "figures" / "engine-base.svg").exists()
