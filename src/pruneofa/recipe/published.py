"""The paper's own figures (recipes/published.json): beside each recipe, and as the table of results."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

NONE_PUBLISHED = "no published figure"


@dataclass(frozen=True)
class PublishedRow:
    """One row of the paper's results on one task.

    Attributes:
        recipe: name of the recipe that makes it.
        model: the dense model.
        sparsity: of the encoder.
        int8: whether it is quantized.
        task: its name in recipes.
        task_label: its name for readers.
        figures: metric -> percent; empty where none was published.
    """

    recipe: str
    model: str
    sparsity: float
    int8: bool
    task: str
    task_label: str
    figures: Mapping[str, float]

    @property
    def text(self) -> str:
        """The figures as the paper writes them, `81.10/88.42`."""
        return "/".join(f"{value:.2f}" for value in self.figures.values()) or NONE_PUBLISHED


@lru_cache(maxsize=1)
def published_rows() -> tuple[PublishedRow, ...]:
    """Every row of the paper on every task, in the paper's order."""
    document = _document()
    return tuple(
        PublishedRow(
            f"{name}-{task}", row["model"], row["sparsity"], row["int8"], task, label, row["figures"].get(task, {})
        )
        for name, row in document["rows"].items()
        for task, label in document["tasks"].items()
    )


def published_source() -> str:
    """Where the figures come from."""
    return str(_document()["source"])


def published_text(recipe: str) -> str:
    """The paper's figures for a recipe, or that there is none."""
    row = next((row for row in published_rows() if row.recipe == recipe), None)
    return NONE_PUBLISHED if row is None else f"{row.text} (paper)" if row.figures else NONE_PUBLISHED


@lru_cache(maxsize=1)
def _document() -> dict[str, Any]:
    file = resources.files("pruneofa") / "recipes" / "published.json"
    return dict(json.loads(file.read_text(encoding="utf-8")))
