"""The public tasks' files in a local folder: GLUE's TSVs, SQuAD's JSON, and partial sets of either.

`data_dir` may be the task's own folder or the one above it. Each file may be compressed (`.gz`, `.bz2`, `.xz`). Looked
for, in this order:

- sst2: `train.tsv`, `dev.tsv` in `SST-2` or `sst2`;
- mnli: `train.tsv`, `dev_matched.tsv` and, if there, `dev_mismatched.tsv` in `MNLI` or `mnli`; else `train_subset.tsv`,
  of which the sentences have lost their closing full stop;
- qqp: `train.tsv`, `dev.tsv` in `QQP` or `qqp`; else `qqp_tiny.tsv`, of which a part is split off to evaluate on;
- qnli: `train.tsv`, `dev.tsv` in `QNLI` or `qnli`; else `dev.tsv` alone, split by article;
- squad, squad_v2: `train-v1.1.json` and `dev-v1.1.json` (or v2.0) in `squad`; else the dev file, split by article.

A split by article is the one in `article_split.json`, in the task's folder or in `squad_v1.1_dev` beside it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pruneofa.data.tasks.config import TaskConfig
from pruneofa.errors import DataError

__all__ = ["located"]

_SUFFIXES = ("", ".gz", ".bz2", ".xz")
_SPLIT_FILE = "article_split.json"


@dataclass(frozen=True)
class _Layout:
    """One way in which a task's files lie.

    Attributes:
        folders: names of the task's own folder.
        train, evaluation: file names; the evaluation may be None, see `settings`.
        also: further files to report on, taken where they are there.
        by_article: both splits are one file, cut by article.
        settings: further keys of `TaskConfig`.
    """

    folders: tuple[str, ...]
    train: str
    evaluation: str | None
    also: dict[str, str] = field(default_factory=dict)
    by_article: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


def _squad(version: str, *folders: str) -> tuple[_Layout, ...]:
    train, dev = f"train-v{version}.json", f"dev-v{version}.json"
    partial = f"SQuAD {version}'s dev set alone, split by article"
    return (
        _Layout(folders, train, dev),
        _Layout(folders, dev, dev, by_article=True, settings={"partial": partial}),
    )


_LAYOUTS: dict[str, tuple[_Layout, ...]] = {
    "sst2": (_Layout(("SST-2", "sst2"), "train.tsv", "dev.tsv"),),
    "mnli": (
        _Layout(("MNLI", "mnli"), "train.tsv", "dev_matched.tsv", {"mismatched": "dev_mismatched.tsv"}),
        _Layout(
            ("MNLI", "mnli"),
            "train_subset.tsv",
            "dev_matched.tsv",
            {"mismatched": "dev_mismatched.tsv"},
            settings={"strip_full_stop": True, "partial": "trained on a part of MNLI's training set"},
        ),
    ),
    "qqp": (
        _Layout(("QQP", "qqp"), "train.tsv", "dev.tsv"),
        _Layout(
            ("qqp_tiny",),
            "qqp_tiny.tsv",
            None,
            settings={"evaluation_fraction": 0.3, "partial": "some 150 pairs of QQP: a smoke test, no result"},
        ),
    ),
    "qnli": (
        _Layout(("QNLI", "qnli"), "train.tsv", "dev.tsv"),
        _Layout(
            ("QNLI", "qnli"),
            "dev.tsv",
            "dev.tsv",
            by_article=True,
            settings={"article_column": "squad_article", "partial": "QNLI's dev set alone, split by article"},
        ),
    ),
    "squad": _squad("1.1", "squad", "SQuAD", "squad_v1.1", "squad_v1.1_dev"),
    "squad_v2": _squad("2.0", "squad_v2", "squad", "SQuAD", "squad_v2.0", "squad_v2.0_dev"),
}


def located(config: TaskConfig) -> TaskConfig:
    """The task with the files of its `data_dir` as its sources; as it is where it has none.

    Raises:
        DataError: the folder or the files are not there, or the task is no public one.
    """
    if config.data_dir is None:
        return config
    root = Path(config.data_dir).expanduser()
    if not root.is_dir():
        raise DataError(f"task.data_dir: no folder {str(root)!r}; give the folder that holds the task's files")
    layouts = _LAYOUTS.get(config.task_name)
    if layouts is None:
        raise DataError(
            f"task.data_dir: {config.task_name!r} is no public task whose files are known ({', '.join(_LAYOUTS)}); "
            "name its sources with task.train and task.evaluation"
        )
    for layout in layouts:
        for folder in (root, *(root / name for name in layout.folders)):
            if found := _found(layout, folder):
                return TaskConfig.model_validate({**config.model_dump(exclude_unset=True), "data_dir": None, **found})
    wanted = "; or ".join(" and ".join(filter(None, (layout.train, layout.evaluation))) for layout in layouts)
    places = ", ".join(dict.fromkeys(name for layout in layouts for name in layout.folders))
    raise DataError(
        f"task.data_dir: neither {str(root)!r} nor its folders {places} hold the files of {config.task_name}: {wanted} "
        "(each may be compressed)"
    )


def _found(layout: _Layout, folder: Path) -> dict[str, Any] | None:
    """Keys of `TaskConfig` when the layout's files are in `folder`."""
    train = _file(folder, layout.train)
    evaluation = _file(folder, layout.evaluation) if layout.evaluation is not None else None
    if train is None or (layout.evaluation is not None and evaluation is None):
        return None
    keys: dict[str, Any] = {"train": train, "evaluation": evaluation, **layout.settings}
    keys["also_evaluate"] = {name: found for name, file in layout.also.items() if (found := _file(folder, file))}
    if layout.by_article:
        split = next(
            (path for path in (folder / _SPLIT_FILE, folder.parent / "squad_v1.1_dev" / _SPLIT_FILE) if path.is_file()),
            None,
        )
        if split is None:
            return None
        keys["article_split"] = str(split)
    return keys


def _file(folder: Path, name: str) -> str | None:
    return next((str(path) for suffix in _SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)
