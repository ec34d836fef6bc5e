"""Write docs/results.md, and the README's figures, from the JSON files in results/.

python benchmarks/render_results.py
"""

import json
from pathlib import Path
from typing import Any

from pruneofa.atomic import write_text
from pruneofa.reporting.tables import markdown_table
from pruneofa.reporting.units import format_bytes, format_ratio

ROOT = Path(__file__).resolve().parent.parent
NAMES = {
    "dense": "dense, fine-tuned",
    "prune_once": "pruned once, locked, distilled",
    "prune_once_int8": "the same in int8",
    "prune_while_finetuning": "baseline: pruned while fine-tuning, distilled",
    "lock_without_distillation": "baseline: pruned once, locked, labels alone",
}


def percent(value: float) -> str:
    """A share in percent, two decimals."""
    return f"{100 * value:.2f}"


def accuracy_table(document: dict[str, Any]) -> str:
    """Accuracy of every variant: mean, spread, each seed, and bytes where the variant is a file."""
    header = ["variant", "accuracy %", "spread", *(f"seed {seed}" for seed in document["seeds"])]
    rows = [
        [
            NAMES[variant],
            percent(figures["mean"]),
            percent(figures["standard_deviation"]),
            *(percent(run["accuracy"][variant]) for run in document["runs"]),
        ]
        for variant, figures in document["accuracy"].items()
    ]
    return markdown_table((header, rows))


def size_table(document: dict[str, Any]) -> str:
    """Bytes of the first seed's models."""
    header = ["model", "encoder sparsity %", "encoder bytes", "file bytes", "ratio nominal", "ratio real"]
    sizes = document["runs"][0]["sizes"]
    rows = [
        [
            name,
            percent(size["encoder_sparsity"]),
            format_bytes(size["bytes_encoder"]),
            format_bytes(size["bytes_total"]),
            format_ratio(size["nominal_ratio"]),
            format_ratio(size["real_ratio"]),
        ]
        for name, size in sizes.items()
    ]
    return markdown_table((header, rows))


def demo_section(document: dict[str, Any]) -> str:
    """Tables of results/demo.json with what made them."""
    machine = document["machine"]
    search = document["learning_rate_search"]
    rates = ", ".join(f"{NAMES[variant]}: {rate:g}" for variant, rate in search["chosen"].items())
    return "\n".join(
        [
            accuracy_table(document),
            size_table(document),
            f"Spread is the sample standard deviation over {len(document['seeds'])} seeds. Data: {document['data']}. "
            f"Partial: {document['partial']}.",
            "",
            f"Learning rates, chosen from {', '.join(f'{rate:g}' for rate in search['grid'])} on films of the training "
            f"split: {rates}.",
            "",
            f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory']}. Commit "
            f"{document['commit']}. Command: `{document['command']}`.",
            "",
        ]
    )


def overhead_section(document: dict[str, Any]) -> str:
    """Tables of results/training_overhead.json."""
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
    return "\n".join(
        [
            markdown_table((heading, steps)),
            "Ratios are to the plain student in the same round (quartiles); on a shared machine they scatter by more "
            "than the work in question. Own work is what pruner or lock add around the optimizer and on the gradients, "
            "timed alone, in percent of a plain step.",
            "",
            f"Masks take {memory['memory']:.3f} bytes a weight in memory, {memory['checkpoint']:.3f} in a checkpoint. "
            "One re-selection for BERT-Large's encoder:",
            "",
            markdown_table((["scope", "weights", "seconds"], cuts)),
            f"Machine: {machine['processor']}, {machine['cores']} cores, {document['threads']} threads; "
            f"{document['precision']}; {document['steps']} steps of each student. Commit {document['commit']}. "
            f"Command: `{document['command']}`.",
            "",
        ]
    )


def main() -> None:
    """Render what there is."""
    demo, overhead = (
        json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("demo", "training_overhead")
    )
    page, readme = ROOT / "docs" / "results.md", ROOT / "README.md"
    text = replaced(page.read_text(encoding="utf-8"), "results", demo_section(demo))
    write_text(page, replaced(text, "overhead", overhead_section(overhead)))
    tables = accuracy_table(demo) + "\n" + size_table(demo)
    write_text(readme, replaced(readme.read_text(encoding="utf-8"), "results", tables))


def replaced(text: str, name: str, section: str) -> str:
    """`text` with `section` between the markers of that name."""
    begin, end = f"<!-- {name}: generated by benchmarks/render_results.py -->", f"<!-- end of {name} -->"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n\n{section}\n{end}{tail}"


if __name__ == "__main__":
    main()
