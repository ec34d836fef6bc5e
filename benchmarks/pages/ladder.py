"""Views of a ladder: one pre-trained model on several tasks, its variants and baselines over seeds.

A ladder's file has `model`, `seeds`, `partial` (what is cut short; None: nothing) and `tasks`: name -> `label`,
`metric`, `partial` (None where the data are whole), `examples` (by split) and `runs`, each with `variant`, `sparsity`
(0 for dense), `seed`, `metrics` (shares of one) and, for the variant without lock, `zeros_over_steps` ([step, share of
zeros left]).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pages.figures import Line, Panel, Point, bars_figure, lines_figure
from pages.views import Documents, Drawing, View, made_by
from pruneofa.reporting.seeds import spread, spread_text
from pruneofa.reporting.tables import markdown_table
from pruneofa.reporting.units import MISSING

LADDER_NAMES = {
    "dense": "dense",
    "dense_distilled": "control: dense, trained as the sparse ones, from the teacher",
    "dense_labels": "control: dense, trained as the sparse ones, from labels alone",
    "prune_once": "pruned once",
    "prune_once_int8": "pruned once, int8",
    "prune_while_finetuning": "baseline: pruned while fine-tuning",
    "no_pretraining_distillation": "baseline: no distillation in pre-training",
    "no_transfer_distillation": "baseline: no distillation in transfer",
    "no_rewinding": "baseline: no rewinding",
    "no_lock": "ablation: no lock (zeros vanish)",
}
"""Variant -> its name for readers, in the order of the tables."""

_DRAWN = ("prune_once", "prune_once_int8", "prune_while_finetuning", "no_pretraining_distillation")
_RECOVERED = ("prune_once", "prune_once_int8", "prune_while_finetuning")
_DENSE = ("dense", "dense_labels", "dense_distilled")
_STEPS = (
    ("the zeros, both from the teacher", "dense_distilled", "prune_once"),
    ("the zeros, both from labels alone", "dense_labels", "no_transfer_distillation"),
    ("the teacher in place of labels, both dense", "dense_labels", "dense_distilled"),
    ("the teacher in place of labels, both sparse", "no_transfer_distillation", "prune_once"),
)
"""What changes, between which two variants that differ in nothing else."""


def _figures(task: Mapping[str, Any], variant: str, sparsity: float) -> dict[str, Any] | None:
    """Mean and spread of the task's metric over the seeds of a variant."""
    values = [
        run["metrics"][task["metric"]]
        for run in task["runs"]
        if run["variant"] == variant and run["sparsity"] == sparsity
    ]
    return spread(values) if values else None


def _rows(document: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Variants with their sparsities, in order, that some task has."""
    present = {(run["variant"], run["sparsity"]) for task in document["tasks"].values() for run in task["runs"]}
    for sparsity in sorted({sparsity for _, sparsity in present}):
        for variant in LADDER_NAMES:
            if (variant, sparsity) in present:
                yield variant, sparsity


def _labels(document: Mapping[str, Any]) -> list[str]:
    return [
        f"{task['label']}, {'F1' if task['metric'] == 'f1' else task['metric'].replace('_', ' ')}"
        f"{' (partial data)' if task.get('partial') else ''}"
        for task in document["tasks"].values()
    ]


def _ladder(documents: Documents) -> Drawing:
    """Every variant on every task: mean and spread over the seeds, in percent; and the figure over sparsity."""
    ((name, document),) = documents.items()
    tasks = list(document["tasks"].values())
    rows = []
    for variant, sparsity in _rows(document):
        found = [_figures(task, variant, sparsity) for task in tasks]
        cells = [MISSING if figures is None else spread_text(figures) for figures in found]
        rows.append([LADDER_NAMES[variant], f"{100 * sparsity:.0f}", *cells])
    table = markdown_table((["variant", "sparsity %", *_labels(document)], rows))
    file = f"{name}-sparsity.svg"
    picture = f"![{document['model']}: the metric of each task over sparsity](figures/{file})"
    return Drawing(f"{table}\n{picture}\n\n{_notes(document)}", {file: _sparsity_figure(document)})


def _recovery(documents: Documents) -> Drawing:
    """What sparse models keep of the metric of the better dense model that learned from labels, on every task."""
    ((name, document),) = documents.items()
    tasks = list(document["tasks"].values())
    rows, bars = [], []
    for variant, sparsity in _rows(document):
        if variant not in _RECOVERED:
            continue
        kept = [_kept(task, variant, sparsity) for task in tasks]
        label = f"{LADDER_NAMES[variant]}, {100 * sparsity:.0f} %"
        rows.append([label, *(MISSING if value is None else f"{100 * value[0]:.1f}" for value in kept)])
        bars.append((label, kept))
    table = markdown_table((["share of the dense metric kept, %", *_labels(document)], rows))
    file = f"{name}-recovery.svg"
    picture = f"![{document['model']}: share of the dense metric that is kept](figures/{file})"
    return Drawing(f"{table}\n{picture}", {file: bars_figure(_labels(document), bars)})


def _kept(task: Mapping[str, Any], variant: str, sparsity: float) -> tuple[float, float] | None:
    """Mean over the dense mean, and the spread of that from the sparse models' seeds."""
    of_dense = [figures for name in ("dense", "dense_labels") if (figures := _figures(task, name, 0.0)) is not None]
    dense = max((figures["mean"] for figures in of_dense), default=0.0)
    sparse = _figures(task, variant, sparsity)
    if sparse is None or not dense:
        return None
    return sparse["mean"] / dense, (sparse["standard_deviation"] or 0.0) / dense


def _gap(documents: Documents) -> Drawing:
    """What the zeros cost and what the teacher does, each with all else equal: points, seed by seed."""
    (document,) = documents.values()
    tasks, rows = list(document["tasks"].values()), []
    for sparsity in sorted({sparsity for _, sparsity in _rows(document)}):
        for said, one, other in _STEPS:
            steps = [_step(task, one, other, sparsity) for task in tasks]
            if any(steps):
                rows.append([said, f"{100 * sparsity:.0f}", *(MISSING if step is None else step for step in steps)])
    labels = [f"{task['label']}, points" for task in tasks]
    return Drawing(markdown_table((["what changes", "sparsity %", *labels], rows)))


def _step(task: Mapping[str, Any], one: str, other: str, sparsity: float) -> str | None:
    """`other` at this sparsity less `one`, over the seeds that both have: mean, and sample standard deviation."""
    scores: dict[str, dict[int, float]] = {one: {}, other: {}}
    wanted = {one: 0.0 if one in _DENSE else sparsity, other: sparsity}
    for run in task["runs"]:
        if wanted.get(run["variant"]) == run["sparsity"]:
            scores[run["variant"]][run["seed"]] = run["metrics"][task["metric"]]
    seeds = sorted(scores[one].keys() & scores[other].keys())
    if not seeds:
        return None
    figures = spread([scores[other][seed] - scores[one][seed] for seed in seeds])
    deviation = figures["standard_deviation"]
    return f"{100 * figures['mean']:+.2f}" + ("" if deviation is None else f" ± {100 * deviation:.2f}")


def _zeros(documents: Documents) -> Drawing:
    """How fast the zeros vanish without the lock, and what that gains."""
    (document,) = documents.values()
    shares = (0.0, 0.01, 0.1, 0.5, 1.0)
    headings = ["task", "sparsity %", *(f"zeros left after {100 * share:g} % of the steps, %" for share in shares)]
    rows = []
    for task in document["tasks"].values():
        for sparsity in sorted({run["sparsity"] for run in task["runs"] if run["variant"] == "no_lock"}):
            runs = [run for run in task["runs"] if run["variant"] == "no_lock" and run["sparsity"] == sparsity]
            curve = runs[0]["zeros_over_steps"]
            left = [f"{100 * _at(curve, share) / sparsity:.2f}" for share in shares]
            unlocked, locked = _figures(task, "no_lock", sparsity), _figures(task, "prune_once", sparsity)
            gain = (
                MISSING if unlocked is None or locked is None else f"{100 * (unlocked['mean'] - locked['mean']):+.2f}"
            )
            rows.append([task["label"], f"{100 * sparsity:.0f}", *left, gain])
    return Drawing(markdown_table(([*headings, "gain, points"], rows)))


def _at(curve: list[list[float]], share: float) -> float:
    """The share of zeros at the last logged step that is not beyond this share of the run."""
    last = share * curve[-1][0]
    return float(next(zeros for step, zeros in reversed(curve) if step <= last or step == curve[0][0]))


def _sparsity_figure(document: Mapping[str, Any]) -> str:
    panels = []
    for label, task in zip(_labels(document), document["tasks"].values(), strict=True):
        dense = _figures(task, "dense", 0.0)
        lines = []
        for variant in _DRAWN:
            points = []
            if dense is not None and variant == "prune_once":
                points.append(Point(0.0, dense["mean"], dense["standard_deviation"] or 0.0))
            for _, sparsity in (row for row in _rows(document) if row[0] == variant):
                if (figures := _figures(task, variant, sparsity)) is not None:
                    points.append(Point(sparsity, figures["mean"], figures["standard_deviation"] or 0.0))
            if points:
                lines.append(Line(LADDER_NAMES[variant].removeprefix("baseline: "), points))
        panels.append(Panel(label, lines))
    return lines_figure(panels)


def _notes(document: Mapping[str, Any]) -> str:
    """What the figures stand on."""
    lines = [f"Model: {document['model']}. {document['pretraining']}".strip()]
    if document.get("partial"):
        lines.append(f"Partial: {document['partial']}.")
    for task in document["tasks"].values():
        counts = task["examples"]
        held = f", {counts['validation']:,} held out to choose by" if counts.get("validation") else ""
        partial = f" Partial data: {task['partial']}." if task.get("partial") else ""
        lines.append(
            f"{task['label']}: {counts['train']:,} training examples{held}, {counts['evaluation']:,} to report "
            f"on.{partial}"
        )
    seeds = ", ".join(map(str, document["seeds"]))
    lines.append(
        f"Seeds {seeds}; ± is their sample standard deviation."
        if len(document["seeds"]) > 1
        else f"Seed {seeds} alone, so the spread is not known."
    )
    lines.append(document["rule"])
    return "\n\n".join(["- " + line for line in lines]).replace("\n\n- ", "\n- ") + f"\n\n{made_by(document)}"


VIEWS: Mapping[str, View] = {"ladder": _ladder, "recovery": _recovery, "gap": _gap, "zeros": _zeros}
