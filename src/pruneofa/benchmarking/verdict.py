"""What the figures mean, in plain words: how much the zeros gain, and where they don't."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["break_even_density", "break_even_sparsity", "verdict"]

_WINS, _BUSY = 1.1, 0.1


def verdict(document: Mapping[str, Any]) -> list[str]:
    """Sentences on a benchmark's document: each shape where sparsity does not help, and what disturbed the figures."""
    lines = []
    cases = [case for case in document["cases"] if _best_peer(case) is not None]
    lost = [case for case in cases if _best_ratio(case) < _WINS]
    if cases and not lost:
        ratios = [_best_ratio(case) for case in cases]
        lines.append(
            f"The engine is the quickest in all {len(cases)} cases: {_range(min(ratios), max(ratios))} times the best "
            "peer."
        )
    for case in lost:
        ratio, best = _best_ratio(case), _best_peer(case)
        assert best is not None
        how = "slower than" if ratio < 1 else "no more than a tenth quicker than"
        times = 1 / ratio if ratio < 1 else ratio
        lines.append(
            f"Sparsity does not help at {_case_name(case)}: the engine is {how} {best['name']} ({best['form']}), "
            f"{times:.2f} times."
        )
    model = document["model"]
    density = break_even_density(document)
    if density is not None and lost:
        lines.append(_why(model["sparsity"], density))
    elif density is not None:
        lines.append(
            f"The model's sparsity is {100 * model['sparsity']:.1f} %. If all of the engine's time grew with its "
            f"non-zeros, it would break even with the best peer at {100 * max(0.0, 1 - density):.0f} %; since only "
            "part does, it breaks even below that."
        )
    lines += list(_disturbances(document))
    return lines


def break_even_density(document: Mapping[str, Any]) -> float | None:
    """Share of non-zeros at which the engine would be as quick as the best peer, were all its time due to them.

    The smallest over the cases; None without peers.
    """
    ratios = [_best_ratio(case) for case in document["cases"] if _best_peer(case) is not None]
    return (1 - float(document["model"]["sparsity"])) * min(ratios) if ratios else None


def break_even_sparsity(points: Iterable[tuple[float, float]], peer_seconds: float) -> float | None:
    """The sparsity from which on the engine is quicker, between two that were measured; None where there is none.

    Args:
        points: Sparsity and the engine's seconds.
        peer_seconds: The peer's.
    """
    ordered = sorted(points)
    for (low, slow), (high, quick) in itertools.pairwise(ordered):
        if slow >= peer_seconds > quick:
            return low + (high - low) * (slow - peer_seconds) / (slow - quick)
    return None


def _why(sparsity: float, density: float) -> str:
    needed = f"{100 * (1 - density):.0f} %" if density < 1 else "more zeros than it has, if any number is enough"
    text = f"The model's sparsity is {100 * sparsity:.1f} %; "
    if density < 1 - sparsity:
        text += f"it would need about {needed}, were all of the engine's time due to non-zeros. "
    return text + (
        "What is left besides the encoder's Linear layers (attention, LayerNorm, embeddings, the way into the runtime) "
        "does not shrink with zeros, and in a tiny model it is most of the time: prune more, or run such a model in "
        "the peer."
    )


def _disturbances(document: Mapping[str, Any]) -> Iterator[str]:
    busy = [case["others_cores"] for case in document["cases"] if (case["others_cores"] or 0) > _BUSY]
    if busy:
        yield (
            f"Other processes used up to {max(busy):.1f} cores in {len(busy)} of {len(document['cases'])} cases, so "
            "these figures are not to be relied on: measure again on a quiet machine."
        )
    yield from document["faults"]
    threads = max((case["threads"] for case in document["cases"]), default=1)
    cores = int(document["machine"]["cores"])
    if threads > cores:
        yield f"{threads} threads were asked for on {cores} cores."


def _best_peer(case: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The quickest row besides the engine's of the same model."""
    own = case["rows"][0]
    peers = [row for row in case["rows"][1:] if row["model"] == own["model"]]
    return min(peers, key=lambda row: float(row["median_seconds"]), default=None)


def _best_ratio(case: Mapping[str, Any]) -> float:
    best = _best_peer(case)
    assert best is not None
    return float(best["ratio"])


def _range(low: float, high: float) -> str:
    return f"{low:.1f}" if f"{low:.1f}" == f"{high:.1f}" else f"{low:.1f} to {high:.1f}"


def _case_name(case: Mapping[str, Any]) -> str:
    threads = case["threads"]
    return f"{case['batch']} x {case['length']} tokens on {threads} thread{'' if threads == 1 else 's'}"
