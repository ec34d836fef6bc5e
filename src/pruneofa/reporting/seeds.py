"""Several seeds of one recipe: mean and spread of every metric, and their table."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pruneofa.reporting.data import ModelRow
from pruneofa.reporting.tables import Grid
from pruneofa.reporting.units import MISSING, clean_text, metric_label


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (None for a single value) and the values themselves."""
    return {
        "mean": statistics.fmean(values),
        "standard_deviation": statistics.stdev(values) if len(values) > 1 else None,
        "values": list(values),
    }


def spread_text(figure: Mapping[str, Any], scale: float = 100.0, decimals: int = 2) -> str:
    """`80.78 ± 0.12`; without the spread where there is one value only."""
    mean = f"{scale * figure['mean']:.{decimals}f}"
    deviation = figure["standard_deviation"]
    return mean if deviation is None else f"{mean} ± {scale * deviation:.{decimals}f}"


def summarize_seeds(rows: Mapping[int, Sequence[ModelRow]], *, one_teacher: bool = False) -> dict[str, Any]:
    """Mean and spread of every model's metrics.

    Args:
        rows: seed -> the models of its run, the dense one first.
        one_teacher: the dense model is the same in all runs, so it counts once.

    Returns:
        `seeds`, and `models`: name -> metric -> as of `spread`.
    """
    names = list(dict.fromkeys(row.name for found in rows.values() for row in found))
    models: dict[str, dict[str, Any]] = {}
    for name in names:
        same = [row for found in rows.values() for row in found if row.name == name]
        if one_teacher and name == names[0]:
            same = same[:1]
        models[name] = {key: spread([row.metrics[key] for row in same]) for key in same[0].metrics}
    return {"seeds": list(rows), "models": models}


def seeds_grid(summary: Mapping[str, Any]) -> Grid:
    """Headings and cells: a row for each model, its metrics as mean and spread in percent (squared errors as such)."""
    keys = list(dict.fromkeys(key for metrics in summary["models"].values() for key in metrics))
    headings = ["model", *(f"{metric_label(key)}{'' if key.startswith('mse') else ' %'}" for key in keys)]
    cells = [
        [
            clean_text(name),
            *(
                spread_text(metrics[key], 1.0 if key.startswith("mse") else 100.0) if key in metrics else MISSING
                for key in keys
            ),
        ]
        for name, metrics in summary["models"].items()
    ]
    return headings, cells
