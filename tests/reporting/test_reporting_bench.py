"""A benchmark's table, lines, picture, and its views on a page of results."""

from typing import Any

import pytest

from pruneofa.reporting.bench import answers_grid, bench_grid, bench_lines, milliseconds, speed_grid
from pruneofa.reporting.bench_figure import bench_svg
from pruneofa.reporting.data import AnsweredText, SpeedRow


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
        row("engine, float attention", 0.012, model="authors' scheme"),
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


def test_the_table_has_a_row_for_each_runtime(document: dict[str, Any]) -> None:
    headings, cells = bench_grid(document)
    assert [dict(zip(headings, line, strict=True))["runtime"] for line in cells] == [
        "engine", "openvino", "engine, float attention",
    ]  # fmt: skip
    own, peer = (dict(zip(headings, line, strict=True)) for line in cells[:2])
    assert (own["tokens"], own["threads"], own["median ms"], own["p95 ms"]) == ("1 x 128", "2", "10.0", "12.0")
    assert (own["items/s"], own["times"], own["memory"], own["max difference"]) == ("100.0", "1.00", "5.0 MB", "-")
    assert (peer["times"], peer["max difference"], peer["same label %"]) == ("4.50", "0.01 of 2", "99.5")


def test_the_lines_name_machine_kernel_rates_forms_and_verdict(document: dict[str, Any]) -> None:
    text = "\n".join(bench_lines(document))
    assert "model: model.pofa (bert, int8, attention products int8), sparsity 90.00 %, 9.0 MB" in text
    assert "instruction sets: avx2" in text
    assert "active kernel: avx512_vnni" in text
    assert "engine, 1 x 128, 2 threads: 1.0 billion products/s done, 10.0 billion counting zeros" in text
    assert "openvino, 1 x 128, 2 threads: int8 44.0 ms, int8, NNCF 50.0 ms" in text
    assert text.endswith("It is quicker.")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0005, "0.50"), (0.00999, "9.99"), (0.0123, "12.3"), (0.1234, "123"), (2.5, "2,500")]
)
def test_milliseconds(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text


def test_the_picture_holds_every_runtime_and_is_the_same_each_time(document: dict[str, Any]) -> None:
    drawn = bench_svg("a <title>", "below", document["cases"])
    assert drawn == bench_svg("a <title>", "below", document["cases"])
    for text in ("a &lt;title&gt;", "1 x 128, 2 threads", "openvino (int8)", "45.0 (4.5x)"):
        assert text in drawn
    assert "authors' scheme: engine, float attention" in drawn


def test_a_run_shows_speed_and_answers() -> None:
    speed = [SpeedRow("sparse int8", "engine, int8", 16, 128, 1, 0.04, 0.05, 400.0, 1.0)]
    assert speed_grid(speed)[1] == [["sparse int8", "engine, int8", "16 x 128", "1", "40.0", "50.0", "400.0", "1.0"]]
    answers = [AnsweredText("a very long review " * 20, "fresh", 0.98765, "rotten")]
    assert answers_grid(answers)[1][0][1:] == ["fresh", "0.988", "rotten"]
    assert len(answers_grid(answers, 30)[1][0][0]) == 30
