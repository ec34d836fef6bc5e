"""What a stage keeps for itself, in the hidden subfolder `.stage`, beside a plain model."""

import json
from pathlib import Path
from typing import Any

from pruneofa.atomic import write_json
from pruneofa.ranks import on_first

__all__ = ["CHECKPOINTS_FOLDER", "CORPUS_FOLDER", "STATE_FOLDER", "load_log", "save_log"]

STATE_FOLDER = ".stage"
CHECKPOINTS_FOLDER = "checkpoints"
"""Within it: from what a broken-off stage goes on."""
CORPUS_FOLDER = "data"
"""Within the folder of the stage `corpus`: the corpus itself."""

_LOG_NAME = "training_log.json"


def save_log(log: list[dict[str, Any]], output_dir: Path) -> None:
    """Keep a training log beside the model; of several processes the first does."""
    on_first(lambda: write_json(output_dir / STATE_FOLDER / _LOG_NAME, log))


def load_log(output_dir: Path) -> list[dict[str, Any]]:
    """The training log of a stage's folder; empty where it has none."""
    path = output_dir / STATE_FOLDER / _LOG_NAME
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []
