"""Views of result files: the demo's variants and sizes, the cost of pruning while training, the paper's rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pages.paper import published_grid
from pruneofa.recipe.published import published_source
from pruneofa.reporting.tables import markdown_table
from pruneofa.reporting.units import format_bytes, format_percent, format_ratio


@dataclass(frozen=True)
class Drawing:
    """What a view makes of its files: Markdown, and SVG files by name that it refers to."""

    markdown: str
    figures: dict[str, str] = field(default_factory=dict)


Documents = Mapping[str, dict[str, Any]]
"""Stem of a result file -> what it holds."""

View = Callable[[Documents], Drawing]

VARIANT_NAMES = {
    "dense": "dense, fine-tuned",
    "prune_once": "pruned once, locked, distilled",
    "prune_once_int8": "the same in int8",
    "prune_while_finetuning": "baseline: pruned while fine-tuning, distilled",
    "lock_without_distillation": "baseline: pruned once, locked, labels alone",
}


def made_by(document: Mapping[str, Any]) -> str:
    """One line: on what and by what a file was made."""
    machine = document["machine"]
    return (
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory']}. Commit {document['commit']}. "
        f"Command: `{document['command']}`."
    )


def _accuracy(documents: Documents) -> Drawing:
    """Accuracy of every variant: mean, spread, each seed."""
    (document,) = documents.values()
    header = ["variant", "accuracy %", "spread", *(f"seed {seed}" for seed in document["seeds"])]
    rows = [
        [
            VARIANT_NAMES[variant],
            format_percent(figures["mean"]),
            format_percent(figures["standard_deviation"]),
            *(format_percent(run["accuracy"][variant]) for run in document["runs"]),
        ]
        for variant, figures in document["accuracy"].items()
    ]
    return Drawing(markdown_table((header, rows)))


def _sizes(documents: Documents) -> Drawing:
    """Bytes of the first seed's models."""
    (document,) = documents.values()
    header = ["model", "encoder sparsity %", "encoder bytes", "file bytes", "ratio nominal", "ratio real"]
    rows = [
        [
            name,
            format_percent(size["encoder_sparsity"]),
            format_bytes(size["bytes_encoder"]),
            format_bytes(size["bytes_total"]),
            format_ratio(size["nominal_ratio"]),
            format_ratio(size["real_ratio"]),
        ]
        for name, size in document["runs"][0]["sizes"].items()
    ]
    return Drawing(markdown_table((header, rows)))


def _notes(documents: Documents) -> Drawing:
    """What made the demo's figures."""
    (document,) = documents.values()
    search = document["learning_rate_search"]
    rates = ", ".join(f"{VARIANT_NAMES[variant]}: {rate:g}" for variant, rate in search["chosen"].items())
    grid = ", ".join(f"{rate:g}" for rate in search["grid"])
    later = document.get("sizes_made_by")
    sizes = f"\n\nSizes: the same models, compressed anew. {made_by(later)}" if later else ""
    return Drawing(
        f"Spread is the sample standard deviation over {len(document['seeds'])} seeds. Data: {document['data']}. "
        f"Partial: {document['partial']}.\n\n"
        f"Learning rates, chosen from {grid} on films of the training split: {rates}.\n\n{made_by(document)}{sizes}"
    )


def _overhead(documents: Documents) -> Drawing:
    """What pruning costs while training."""
    (document,) = documents.values()
    machine, memory = document["machine"], document["mask_bytes_per_weight"]
    heading = ["student", "step, median s", "ratio, lower", "ratio, median", "ratio, upper", "own work %"]
    share, quartiles = document["own_work_share"], document["ratio_paired_quartiles"]
    steps = [
        [
            name,
            f"{seconds:.3f}",
            *(f"{value:.3f}" for value in quartiles.get(name, [1.0, 1.0, 1.0])),
            f"{100 * share.get(name, 0.0):.1f}",
        ]
        for name, seconds in document["step_seconds"].items()
    ]
    cuts = [[scope, f"{row['weights']:,}", f"{row['seconds']:.2f}"] for scope, row in document["reselection"].items()]
    return Drawing(
        f"{markdown_table((heading, steps))}\n"
        "Ratios are to the plain student in the same round (quartiles); on a shared machine they scatter by more than "
        "the work in question. Own work is what pruner or lock add around the optimizer and on the gradients, timed "
        "alone, in percent of a plain step.\n\n"
        f"Masks take {memory['memory']:.3f} bytes a weight in memory, {memory['checkpoint']:.3f} in a checkpoint. One "
        f"re-selection for BERT-Large's encoder:\n\n{markdown_table((['scope', 'weights', 'seconds'], cuts))}\n"
        f"Machine: {machine['processor']}, {machine['cores']} cores, {document['threads']} threads; "
        f"{document['precision']}; {document['steps']} steps of each student. Commit {document['commit']}. "
        f"Command: `{document['command']}`."
    )


def _paper(documents: Documents) -> Drawing:
    """The paper's rows beside what was measured here: documents with the key `row`, others are passed over."""
    measured = [document for document in documents.values() if "row" in document]
    table = markdown_table(published_grid(measured), text_columns=(0, 2, 3, 4, 5, 6))
    return Drawing(f"{table}\nPaper: {published_source()}.")


VIEWS: Mapping[str, View] = {
    "accuracy": _accuracy,
    "sizes": _sizes,
    "notes": _notes,
    "overhead": _overhead,
    "paper": _paper,
}
