"""View of pre-trained models: held-out loss of the dense one and of its students, and how they came there.

The file has `models`: name -> `held_out` (`loss` in nats, `accuracy`, `tokens`) and, but for the one that training
began with ("start"), `sparsity`, `seconds`, `curve` (what the training logged) and, where a compressed file is kept,
`file` (`name`, `bytes`, `embedding_step`, `held_out`). Students are called `distilled-0.85`: how they were trained, and
their sparsity.
"""

import itertools
import math
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from pages.views import Documents, Drawing, View, made_by
from pruneofa.reporting import _axes, _svg
from pruneofa.reporting._svg import opaque_figure, svg_file
from pruneofa.reporting.tables import markdown_table
from pruneofa.reporting.units import MISSING, format_bytes

_NAMES = {
    "start": "as it came",
    "dense": "dense, pre-trained further (the teacher)",
    "distilled": "sparse, distilled, rate rewound",
    "undistilled": "sparse, not distilled, rate rewound",
    "unrewound": "sparse, distilled, rate not rewound",
}
_LEFT, _TOP, _WIDTH, _HEIGHT, _BOTTOM, _LINE = 54.0, 30.0, 560.0, 200.0, 50.0, 20.0
_SMOOTHED = 100  # steps


def _label(name: str) -> str:
    kind, _, sparsity = name.partition("-")
    return f"{_NAMES.get(kind, kind)}{f', {100 * float(sparsity):.0f} %' if sparsity else ''}"


def _pretraining(documents: Documents) -> Drawing:
    """Held-out loss of every model, and the losses of training over the steps."""
    ((stem, document),) = documents.items()
    models = document["models"]
    best = models["dense"]["held_out"]["loss"]
    rows = []
    for name, model in models.items():
        found = model["held_out"]
        more = found["loss"] - best
        rows.append(
            [
                _label(name),
                f"{100 * model.get('sparsity', 0.0):.1f}",
                f"{found['loss']:.3f}",
                MISSING if name == "dense" else f"{more:+.3f}",
                f"{math.exp(found['loss']):.1f}",
                f"{100 * found['accuracy']:.2f}",
            ]
        )
    table = markdown_table(
        (
            ["model", "sparsity %", "held-out loss, nats", "beside dense", "perplexity", "tokens predicted right, %"],
            rows,
        )
    )
    file = f"{stem}-loss.svg"
    drawn = {name: model for name, model in models.items() if model.get("curve")}
    picture = f"![Loss of the masked tokens over the steps of training](figures/{file})"
    kept = [(name, model["file"]) for name, model in models.items() if "file" in model]
    files = "".join(
        f"- `results/models/{entry['name']}`: {_label(name)}, {format_bytes(entry['bytes'])}, embeddings in steps of "
        f"1/{1 / entry['embedding_step']:.0f}; held-out loss {entry['held_out']['loss']:.3f}\n"
        for name, entry in kept
    )
    tokens = int(models["dense"]["held_out"]["tokens"])
    notes = (
        f"Data: {document['data']}; the loss is that of {tokens:,} masked tokens (15 %), the same for every model. "
        f"Seed {', '.join(map(str, document['seeds']))}. Partial: {document['partial']}.\n\n{made_by(document)}"
    )
    text = "\n".join(part for part in (table, picture, "", files, notes) if part or part == "")
    return Drawing(text, {file: _losses_figure(drawn)})


def _points(curve: list[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """The task's loss over the steps, each point a mean over `_SMOOTHED` steps."""
    entries = [
        (float(entry["step"]), float(entry.get("loss/task", entry["loss"]))) for entry in curve if "loss" in entry
    ]
    grouped = itertools.groupby(entries, key=lambda entry: math.ceil(entry[0] / _SMOOTHED))
    return [(_SMOOTHED * number - _SMOOTHED / 2, fmean(loss for _, loss in group)) for number, group in grouped]


def _losses_figure(models: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each model."""
    drawn = opaque_figure(_LEFT + _WIDTH + 14, _TOP + _HEIGHT + _BOTTOM + _LINE * len(models))
    axes = _axes.add_axes(drawn, _LEFT, _TOP, _WIDTH, _HEIGHT)
    axes.set_title("loss of the masked tokens in training, nats", loc="left", fontsize=_axes.SMALL, color=_svg.INK)
    width, height = (72 * inches for inches in drawn.get_size_inches())
    keys = _axes.bare_axes(drawn, 0, 0, width, height)
    for place, (name, model) in enumerate(models.items()):
        colour, dashes = _svg.SERIES[place % len(_svg.SERIES)], "-" if place < len(_svg.SERIES) else "--"
        points = _points(model["curve"])
        axes.plot([step for step, _ in points], [loss for _, loss in points], dashes, color=colour, linewidth=1.4)
        y = _TOP + _HEIGHT + _BOTTOM + _LINE * place - 6
        keys.plot([_LEFT, _LEFT + 18], [y, y], dashes, color=colour, linewidth=2.5)
        _axes.write(keys, _LEFT + 26, y, _label(name))
    axes.set_xlabel("step", fontsize=_axes.SMALL, color=_svg.MUTED)
    axes.set_xlim(left=0)
    _axes.number_axis(axes)
    return svg_file(drawn)


VIEWS: Mapping[str, View] = {"pretraining": _pretraining}
