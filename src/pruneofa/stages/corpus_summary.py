"""What is in a corpus that the stage `corpus` built: its record and a picture of it."""

import json
from pathlib import Path
from typing import Any

from pruneofa.atomic import replacing_file
from pruneofa.reporting.corpus import draw_corpus
from pruneofa.stages.corpus import DATA_FOLDER

PICTURE_NAME = "corpus.png"


def has_corpus(folder: Path) -> bool:
    """Whether the stage's folder holds a corpus."""
    from pruneofa.data.building.folder import RECORD_NAME

    return (folder / DATA_FOLDER / RECORD_NAME).is_file()


def corpus_record(folder: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What `corpus.json` and, where it is readable, `times.json` of the stage's folder say.

    Raises:
        DataError: there is no corpus, or its record is damaged.
    """
    from pruneofa.data.building.folder import TIMES_NAME, read_record

    record = read_record(folder / DATA_FOLDER)
    try:
        times = json.loads((folder / DATA_FOLDER / TIMES_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        times = None
    return record, times


def write_picture(folder: Path, record: dict[str, Any]) -> Path:
    """Draw the corpus into its folder; returns the picture's path."""
    path = folder / PICTURE_NAME
    with replacing_file(path) as temporary:
        temporary.write_bytes(draw_corpus(record))
    return path
