"""Evaluate an embedding model, and another beside it, on tasks of local files."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruneofa.engine.engine import Engine
from pruneofa.errors import ConfigurationError
from pruneofa.evaluation.recovery import RESAMPLES, recovery
from pruneofa.evaluation.scoring import TaskScore, score_task
from pruneofa.evaluation.task_files import load_task

__all__ = ["evaluate_embeddings"]

Progress = Callable[[str, TaskScore], None]
"""Called with a model's path and each of its scores as they come."""


def evaluate_embeddings(
    model: str,
    tasks: Sequence[str],
    data_dir: Path,
    *,
    against: str | None = None,
    resamples: int = RESAMPLES,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a model's embeddings on the engine.

    Args:
        model: A `.pofa` file or model folder.
        tasks: Names of tasks in `data_dir`, see `pruneofa.evaluation.task_files`.
        data_dir: Folder of their files.
        against: A second model, such as the dense one, that is scored on the same texts.
        resamples: Of the bootstrap that the intervals come from.
        progress: Called after each task.

    Returns:
        `model`, `tasks` (task, metric, score, examples); with `against` also its `against_tasks`, and `recovery`: of
        each task and of the mean ratio the value with its 95 % paired bootstrap interval.

    Raises:
        ConfigurationError: No task, or one named twice.
        DataError: A task's files are missing or faulty.
        CheckpointError: A model is missing, damaged, or of a kind that the engine does not run.
    """
    if not tasks or len(set(tasks)) < len(tasks):
        raise ConfigurationError(f"tasks: is {','.join(tasks)!r}; allowed: names of different tasks, at least one")
    loaded = [load_task(name, data_dir) for name in tasks]  # faults of any file are told before hours of work
    scored: dict[str, list[TaskScore]] = {}
    for path in dict.fromkeys([model] if against is None else [model, against]):
        embed = _embedder(Engine.load(path))
        scored[path] = []
        for task in loaded:
            scored[path].append(score_task(task, embed))
            if progress is not None:
                progress(path, scored[path][-1])
    document: dict[str, Any] = {"model": model, "tasks": _rows(scored[model])}
    if against is not None:
        found = recovery(scored[against], scored[model], resamples=resamples)
        document |= {
            "against": against,
            "against_tasks": _rows(scored[against]),
            "recovery": {**dataclasses.asdict(found), "resamples": resamples},
        }
    return document


def _embedder(engine: Engine) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """Embeds each different text once: tasks repeat theirs."""

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        different = list(dict.fromkeys(texts))
        place = {text: row for row, text in enumerate(different)}
        rows: NDArray[np.float32] = engine.embed(different)[[place[text] for text in texts]]
        return rows

    return embed


def _rows(scores: Sequence[TaskScore]) -> list[dict[str, Any]]:
    return [
        {"task": score.task, "metric": score.metric, "score": score.score, "examples": len(score.values)}
        for score in scores
    ]
