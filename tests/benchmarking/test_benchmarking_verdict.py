"""What is said of the figures."""

import pytest

from pruneofa.benchmarking.verdict import break_even_density, break_even_sparsity, verdict


def row(name, ratio, model="m"):
    return {"name": name, "model": model, "form": "int8", "median_seconds": 0.01 * ratio, "ratio": ratio}


def document(*cases, sparsity=0.9, faults=(), others=0.0, cores=2):
    """Each case: threads, and the peers' times over the engine's."""
    return {
        "model": {"sparsity": sparsity},
        "machine": {"cores": str(cores)},
        "faults": list(faults),
        "cases": [
            {
                "threads": threads, "batch": 1, "length": 128, "others_cores": others,
                "rows": [row("engine", 1.0), *(row(name, ratio) for name, ratio in peers.items())],
            }
            for threads, peers in cases
        ],
    }  # fmt: skip


def test_a_gain_is_told_against_the_best_peer_with_the_break_even():
    lines = verdict(document((1, {"openvino": 4.0, "torch": 12.0}), (2, {"openvino": 3.0, "torch": 9.0})))
    assert lines[0] == "The engine is the quickest in all 2 cases: 3.0 to 4.0 times the best peer."
    assert "it would break even with the best peer at 70 %; since only part does, it breaks even below that" in lines[1]
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("ratio", "sparsity", "words", "why"),
    [
        (0.5, 0.3, "the engine is slower than openvino (int8), 2.00 times", "it would need about 65 %"),
        (1.05, 0.9, "the engine is no more than a tenth quicker than openvino (int8), 1.05 times", "LayerNorm"),
    ],
)
def test_where_sparsity_does_not_help_it_is_said(ratio, sparsity, words, why):
    lines = verdict(document((1, {"openvino": ratio, "torch": 9.0}), sparsity=sparsity))
    assert lines[0] == f"Sparsity does not help at 1 x 128 tokens on 1 thread: {words}."
    assert f"The model's sparsity is {100 * sparsity:.1f} %" in lines[1]
    assert why in lines[1]


def test_disturbances_and_faults_are_told():
    lines = verdict(document((4, {"openvino": 4.0}), others=0.5, faults=["torch (float32): killed"]))
    assert any("Other processes used up to 0.5 cores in 1 of 1 cases" in line for line in lines)
    assert "torch (float32): killed" in lines
    assert lines[-1] == "4 threads were asked for on 2 cores."


def test_other_models_and_no_peers_are_no_comparison():
    alone = document((1, {}))
    assert verdict(alone) == []
    assert break_even_density(alone) is None
    alone["cases"][0]["rows"].append(row("engine, dense", 9.0, model="another"))
    assert verdict(alone) == []


def test_break_even_lies_between_measured_sparsities():
    points = [(0.9, 1.0), (0.5, 5.0), (0.7, 3.0)]
    assert break_even_sparsity(points, 4.0) == pytest.approx(0.6)
    assert break_even_sparsity(points, 3.0) == pytest.approx(0.7)
    assert break_even_sparsity(points, 0.5) is None  # always slower
    assert break_even_sparsity(points, 9.0) is None  # always quicker
