"""The public tasks that are known by name: columns, labels, metric, length, and where the hub has them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

__all__ = ["PRESETS", "QUESTIONS_LENGTH", "Columns", "Preset"]


@dataclass(frozen=True)
class Columns:
    """Names of the columns of one public form of a task; `pair` is None for single texts."""

    text: str
    pair: str | None
    label: str


@dataclass(frozen=True)
class Preset:
    """What is known of a task that is named.

    Attributes:
        settings: keys of `TaskConfig` that hold unless they are given.
        hub: its sources on the hub, for where neither files nor a folder are given.
        columns: the forms in which its rows are published; the one whose columns a source has is taken.
    """

    settings: Mapping[str, Any]
    hub: Mapping[str, Any]
    columns: tuple[Columns, ...] = field(default=())


def _glue(name: str, evaluation: str = "validation", **more: str) -> dict[str, Any]:
    source = f"hub:nyu-mll/glue/{name}"
    found: dict[str, Any] = {"train": f"{source}:train", "evaluation": f"{source}:{evaluation}"}
    if more:
        found["also_evaluate"] = {key: f"{source}:{split}" for key, split in more.items()}
    return found


def _squad(name: str) -> dict[str, Any]:
    return {"train": f"hub:rajpurkar/{name}:train", "evaluation": f"hub:rajpurkar/{name}:validation"}


QUESTIONS_LENGTH = 384
"""Longest example of questions on texts, in tokens, where none is given: that of the paper's SQuAD rows."""

_ANSWERS = {"kind": "question_answering", "metric": "f1", "max_length": QUESTIONS_LENGTH}

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "squad": Preset({**_ANSWERS, "question_answering": {"unanswerable": False}}, _squad("squad")),
        "squad_v2": Preset({**_ANSWERS, "question_answering": {"unanswerable": True}}, _squad("squad_v2")),
        "mnli": Preset(
            {
                "kind": "classification",
                "metric": "accuracy",
                "label_names": ["entailment", "neutral", "contradiction"],
                "drop_labels": ["-"],
            },
            _glue("mnli", "validation_matched", mismatched="validation_mismatched"),
            (Columns("premise", "hypothesis", "label"), Columns("sentence1", "sentence2", "gold_label")),
        ),
        "qqp": Preset(
            {
                "kind": "classification",
                "metric": "f1",
                "label_names": ["not_duplicate", "duplicate"],
                "broken_rows": "drop",
            },
            _glue("qqp"),
            (Columns("question1", "question2", "label"), Columns("question1", "question2", "is_duplicate")),
        ),
        "qnli": Preset(
            {"kind": "classification", "metric": "accuracy", "label_names": ["entailment", "not_entailment"]},
            _glue("qnli"),
            (Columns("question", "sentence", "label"),),
        ),
        "sst2": Preset(
            {"kind": "classification", "metric": "accuracy", "label_names": ["negative", "positive"]},
            _glue("sst2"),
            (Columns("sentence", None, "label"),),
        ),
    }
)
"""Task name -> what is known of it; any other name is one's own task."""
