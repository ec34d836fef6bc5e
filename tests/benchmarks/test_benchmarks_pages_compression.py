"""Views of result files about small models and fuzzed readers."""

import json
from pathlib import Path
from typing import Any

import pytest
from pages.drawing import render_text

from pruneofa.errors import DataError

MADE = {
    "machine": {"processor": "a fast one", "cores": "2", "memory": "24 GiB"},
    "commit": "abc",
    "command": "python x.py",
}
SIZES = {
    "bytes_encoder": 2_000_000, "bytes_scales": 80_000, "entropy_bound_bytes": 1_900_000.4, "bytes_total": 43_000_000,
    "nominal_ratio": 26.66, "real_ratio": 21.2,
}  # fmt: skip


def draw(tmp_path: Path, documents: dict[str, Any], mark: str) -> str:
    for name, document in documents.items():
        (tmp_path / name).write_text(json.dumps(document), encoding="utf-8")
    return render_text(f"<!-- results/{mark} -->\n<!-- end of results/{mark} -->\n", tmp_path, tmp_path)


def cells(text: str, first: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_quantization(tmp_path: Path) -> None:
    rows = [
        {"variant": "float sparse", "metrics": {"accuracy": 0.77, "accuracy_selection": 0.8}, **SIZES},
        {"variant": "trained", "metrics": {"accuracy": 0.7712, "accuracy_selection": 0.79}, **SIZES},
    ]
    text = draw(tmp_path, {"q.json": MADE | {"rows": rows}}, "q.json: quantization")
    found = ["trained", "77.12", "79.00", "2.0 MB", "80.0 kB", "1.9 MB", "26.7x", "21.2x", "43.0 MB"]
    assert cells(text, "trained") == found
    assert "Commit abc" in text and "`python x.py`" in text


def test_rate_and_accuracy(tmp_path: Path) -> None:
    row = {"sparsity": 0.85, "rule": "float32", "method": "none", "bits_per_weight": 4.32, **SIZES}
    small = row | {"rule": "steps", "method": "trained", "bits_per_weight": 0.799, "evaluation_accuracy": 0.76}
    rows = [row | {"selection_accuracy": 0.79}, small | {"selection_accuracy": 0.78}]
    facts = {"aim": 40.0, "rung_steps": 120, "rung_learning_rate": 3e-4, "qat_steps": 150}
    document = MADE | facts | {"dense_accuracy": {"selection": 0.82, "evaluation": 0.81}, "rows": rows}
    text = draw(tmp_path, {"r.json": document}, "r.json: rate")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert [cell.strip() for cell in lines[2].strip("|").split("|")][-2:] == ["79.00", "-"]
    assert [cell.strip() for cell in lines[3].strip("|").split("|")] == [
        *("85.00", "steps", "trained", "0.799", "26.7x", "21.2x", "78.00", "76.00")
    ]
    assert "The dense model: 82.00 % and 81.00 %." in text and "at least 40x smaller" in text


def test_one_shot_rows_are_in_the_order_of_sparsity(tmp_path: Path) -> None:
    fidelity = {"cosine": 0.951, "spearman": 0.93, "same_10": 0.8}
    row = {
        "sparsity": 0.5, "measured_sparsity": 0.5, "texts": 384, "tokens": 18_000, "seconds": 300.4,
        "cpu_seconds": 99.6, "peak_memory_mb": 1_000,
        "fidelity": {"mean": fidelity}, "fidelity_of_magnitude": fidelity | {"cosine": 0.7},
        "stsb_test": 81.1,
    }  # fmt: skip
    rows = [row | {"sparsity": 0.9, "measured_sparsity": 0.9, "stsb_test": 70.0}, row]
    facts = {"note": "busy", "held_out": {"questions": 200}, "stsb_test_dense": 82.0, "rows": rows}
    text = draw(tmp_path, {"o.json": MADE | facts}, "o.json: one_shot")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    found = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert found[:4] == ["50.00", "384", "18,000", "0.951"]
    assert found[6:12] == ["0.700", "0.930", "80.0", "81.10", "98.9", "300"]
    assert lines[3].split()[1] == "90.00"
    assert "Fidelity on 200 questions" in text and "Note: busy." in text


def packing_row(**more: Any) -> dict[str, Any]:
    figures = {
        "sparsity": 0.9, "bits_per_weight": 1.14, "times_entropy": 1.004, "zlib_bits_per_weight": 1.5,
        "lzma_bits_per_weight": 1.4, "pack_seconds": 4.0, "unpack_seconds": 3.0, "pack_processor_seconds": 2.0,
        "unpack_processor_seconds": 1.5, "peak_memory_bytes": 300_000_000, "weights": "per_tensor", "form": "packed",
    }  # fmt: skip
    return SIZES | figures | more


def test_packed_files_of_several_runs(tmp_path: Path) -> None:
    documents = {
        "packing.json": MADE | {"rows": [packing_row(model="base", pruned="by_magnitude", layers=12)]},
        "packing_large.json": MADE | {"rows": [packing_row(model="int8-folder")]},
    }
    text = draw(tmp_path, documents, "packing*.json: packing")
    assert cells(text, "BERT-Base")[:8] == [
        *("BERT-Base", "synthetic, smallest pruned", "per tensor", "packed", "2.0 MB", "1.140", "1.0040", "26.7x")
    ]
    assert cells(text, "int8-folder")[1] == "90.00 %, real" and cells(text, "int8-folder")[13] == "3.5"
    assert text.count("Machine:") == 2


def test_fuzzed_readers(tmp_path: Path) -> None:
    document = MADE | {
        "rows": {"pofa/bits": {"cases": 1000, "refused": 998, "read": 2, "fault": 0}},
        "cases": 1000, "refused": 998, "read": 2, "faults": 0, "checks_that_objected": 70, "checks_in_the_readers": 90,
        "slowest_seconds": 0.25, "seconds_limit": 10.0, "peak_bytes": 67_000_000, "memory_limit_bytes": 2**30,
    }  # fmt: skip
    text = draw(tmp_path, {"f.json": document}, "f.json: fuzz")
    assert cells(text, "pofa: bits") == ["pofa: bits", "1,000", "998", "2", "0"]
    assert "70 of the readers' 90 checks" in text and "0.25 s" in text


@pytest.mark.parametrize("view", ["quantization", "rate", "packing", "fuzz"])
def test_a_file_of_another_kind_is_a_clear_error(tmp_path: Path, view: str) -> None:
    with pytest.raises(DataError, match="holds nothing that this view can draw"):
        draw(tmp_path, {"x.json": {"rows": [{}]}}, f"x.json: {view}")
