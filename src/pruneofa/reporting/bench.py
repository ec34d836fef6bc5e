"""A benchmark's document as a table, and as the lines around it."""

from collections.abc import Mapping, Sequence
from typing import Any

from pruneofa.reporting.data import AnsweredText, SpeedRow
from pruneofa.reporting.tables import Grid
from pruneofa.reporting.units import MISSING, clean_text, format_bytes, format_percent

__all__ = [
    "TEXT_COLUMNS",
    "answers_grid",
    "bench_grid",
    "bench_lines",
    "case_label",
    "milliseconds",
    "speed_grid",
    "times_of",
]

TEXT_COLUMNS = (0, 2, 3)
"""Columns of `bench_grid` that hold text."""


def bench_grid(document: Mapping[str, Any]) -> Grid:
    """A row for each number of threads, shape and runtime.

    Median and p95 are of calls that follow another one of the same runtime, `first ms` is the median of those before.
    `times` is the runtime's median over the first row's; `max difference` and `same label` compare its answers with the
    first row's, on the inputs that were timed.
    """
    headings = ["tokens", "threads", "runtime", "form", "median ms", "p95 ms", "first ms", "items/s", "times", "memory"]
    headings += ["load s", "max difference", "same label %"]
    rows = []
    for case in document["cases"]:
        for row in case["rows"]:
            agreement = row["agreement"]
            rows.append(
                [
                    f"{case['batch']} x {case['length']}",
                    str(case["threads"]),
                    clean_text(row["name"]),
                    clean_text(row["form"]),
                    milliseconds(row["median_seconds"]),
                    milliseconds(row["p95_seconds"]),
                    milliseconds(row["first_seconds"]),
                    f"{row['items_per_second']:,.1f}",
                    f"{row['ratio']:.2f}",
                    format_bytes(row["memory_bytes"]),
                    f"{row['load_seconds']:.2f}",
                    MISSING if agreement is None else f"{agreement['difference']:.2g} of {agreement['largest']:.2g}",
                    MISSING if agreement is None else format_percent(agreement["same"], 1),
                ]
            )
    return headings, rows


def bench_lines(document: Mapping[str, Any]) -> list[str]:
    """The machine, the kernels, the model, the trials of forms, the engine's rates, and the verdict."""
    machine, model = document["machine"], document["model"]
    kind = "float" if not model["int8"] else f"int8, attention products {model['attention_products']}"
    lines = [
        f"model: {clean_text(model['name'])} ({model['type']}, {kind}), "
        f"sparsity {format_percent(model['sparsity'])} %, {format_bytes(model['bytes'])}",
        f"machine: {machine['processor']}, {machine['cores']} cores, {machine['memory']}",
        f"instruction sets: {machine['instruction sets']}",
        f"active kernel: {document['kernel']}",
    ]
    lines += [_rates(case) for case in document["cases"]]
    if trials := [_trials(case, row) for case in document["cases"] for row in case["rows"] if row["trials_seconds"]]:
        lines += ["forms tried, medians of few calls; the quickest was timed:", *(f"  {line}" for line in trials)]
    return [*lines, *document["verdict"]]


def speed_grid(rows: Sequence[SpeedRow]) -> Grid:
    """The speed of a run's models, a row for each shape and runtime; text in the first two columns."""
    headings = ["model", "runtime", "tokens", "threads", "median ms", "p95 ms", "items/s", "times"]
    cells = [
        [
            clean_text(row.model),
            clean_text(row.runtime),
            f"{row.batch} x {row.length}",
            str(row.threads),
            milliseconds(row.median_seconds),
            milliseconds(row.p95_seconds),
            f"{row.items_per_second:,.1f}",
            f"{row.ratio:.1f}",
        ]
        for row in rows
    ]
    return headings, cells


def answers_grid(answers: Sequence[AnsweredText], limit: int | None = None) -> Grid:
    """What the engine says of texts; all columns but the score hold text.

    Args:
        answers: the texts.
        limit: characters of a text.
    """
    headings = ["text", "the engine says", "score", "in the data"]
    cells = [
        [clean_text(answer.text, limit), clean_text(answer.label), f"{answer.score:.3f}", clean_text(answer.expected)]
        for answer in answers
    ]
    return headings, cells


def milliseconds(seconds: float) -> str:
    """Seconds in ms with three digits."""
    value = 1000 * seconds
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def case_label(case: Mapping[str, Any]) -> str:
    """Such as "1 x 128, 2 threads"."""
    threads = case["threads"]
    return f"{case['batch']} x {case['length']}, {threads} thread{'' if threads == 1 else 's'}"


def times_of(case: Mapping[str, Any]) -> str:
    """Each runtime's median of a shape, such as "engine 3.51 ms, onnxruntime 13.9 ms (4.0x)"."""
    first, *others = case["rows"]
    words = [f"{first['name']} {milliseconds(first['median_seconds'])} ms"]
    words += [f"{row['name']} {milliseconds(row['median_seconds'])} ms ({row['ratio']:.1f}x)" for row in others]
    return ", ".join(words)


def _rates(case: Mapping[str, Any]) -> str:
    row = case["rows"][0]
    actual, dense = row["actual_products_per_second"], row["dense_equivalent_products_per_second"]
    return (
        f"{row['name']}, {case_label(case)}: {actual / 1e9:,.1f} billion products/s done, {dense / 1e9:,.1f} billion "
        "counting zeros"
    )


def _trials(case: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    found = ", ".join(f"{form} {milliseconds(seconds)} ms" for form, seconds in row["trials_seconds"].items())
    return f"{row['name']}, {case_label(case)}: {found}"
