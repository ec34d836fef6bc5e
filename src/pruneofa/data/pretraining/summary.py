"""What is in a corpus that the stage `corpus` built."""

import json
from pathlib import Path
from typing import Any

from pruneofa.data.pretraining.building.folder import RECORD_NAME, TIMES_NAME, read_record
from pruneofa.stage_folder import CORPUS_FOLDER

__all__ = ["corpus_record", "has_corpus"]


def has_corpus(folder: Path) -> bool:
    """Whether the stage's folder holds a corpus."""
    return (folder / CORPUS_FOLDER / RECORD_NAME).is_file()


def corpus_record(folder: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What `corpus.json` and, where it is readable, `times.json` of the stage's folder say.

    Raises:
        DataError: there is no corpus, or its record is damaged.
    """
    record = read_record(folder / CORPUS_FOLDER)
    try:
        times = json.loads((folder / CORPUS_FOLDER / TIMES_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        times = None
    return record, times
