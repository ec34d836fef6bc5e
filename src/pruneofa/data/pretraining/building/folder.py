"""The corpus folder: `train/`, `validation/` (Arrow files) and `corpus.json`, which says what they hold."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pruneofa.data.pretraining.building.example_shards import SPLITS
from pruneofa.data.tokenization import tokenizer_hash
from pruneofa.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

__all__ = ["FORMAT", "RECORD_NAME", "TIMES_NAME", "load_corpus", "read_record"]

FORMAT = "pruneofa-corpus-2"
RECORD_NAME = "corpus.json"
TIMES_NAME = "times.json"
_COLUMNS = {"input_ids", "length", "documents"}
_PAIR_COLUMNS = {"second_segment", "next_sentence_label"}


def load_corpus(directory: str | Path, tokenizer: "PreTrainedTokenizerBase") -> dict[str, "Dataset"]:
    """Open a corpus folder (memory-mapped).

    Returns:
        `train` and, where there is one, `validation`. Columns: `input_ids` (list of int32, special tokens included),
        `length`, `documents` (numbers, in source order, of the documents whose text is in the example); of pairs also
        `second_segment` (position of the second segment's first token) and `next_sentence_label` (1: it is random).

    Raises:
        DataError: no or a damaged corpus folder, or one that another tokenizer made.
    """
    folder = Path(directory)
    record = read_record(folder)
    if record["tokenizer_sha256"] != tokenizer_hash(tokenizer):
        raise DataError(
            f"the corpus {folder} was made with another tokenizer (sha256 {str(record['tokenizer_sha256'])[:12]}..., "
            f"this one {tokenizer_hash(tokenizer)[:12]}...); build the corpus again with this model's tokenizer"
        )
    columns = _COLUMNS | (_PAIR_COLUMNS if record["settings"].get("form") == "pairs" else set())
    return {
        name: _load_split(folder / name, record["shards"][name], columns) for name in SPLITS if record["shards"][name]
    }


def read_record(folder: Path) -> dict[str, Any]:
    """What `corpus.json` of a corpus folder says.

    Raises:
        DataError: it is missing, damaged, or of another form.
    """
    path = folder / RECORD_NAME
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{folder} is no corpus folder: {path.name} can't be read ({error}); build it first") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); build the corpus again") from error
    if not _is_record(record):
        raise DataError(f"{path} is not of the form {FORMAT!r}; build the corpus again")
    return record


def _is_record(record: Any) -> bool:
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        return False
    shards = record.get("shards")
    return (
        isinstance(record.get("tokenizer_sha256"), str)
        and isinstance(record.get("settings"), dict)
        and isinstance(record.get("statistics"), dict)
        and isinstance(shards, dict)
        and all(isinstance(shards.get(name), list) and all(map(_is_shard, shards[name])) for name in SPLITS)
        and bool(shards["train"])
    )


def _is_shard(shard: Any) -> bool:
    return (
        isinstance(shard, dict)
        and isinstance(shard.get("file"), str)
        and Path(shard["file"]).name == shard["file"]
        and isinstance(shard.get("examples"), int)
        and isinstance(shard.get("bytes"), int)
    )


def _load_split(folder: Path, shards: list[dict[str, Any]], columns: set[str]) -> "Dataset":
    import datasets

    loaded = []
    for shard in shards:
        path = folder / shard["file"]
        try:
            if path.stat().st_size != shard["bytes"]:
                raise DataError(f"{path} is not what {RECORD_NAME} says; build the corpus again")
            data = datasets.Dataset.from_file(str(path))
        except DataError:
            raise
        except Exception as error:  # the library raises what its many readers raise
            raise DataError(f"{path} is damaged ({error}); build the corpus again") from error
        if len(data) != shard["examples"] or set(data.column_names) != columns:
            raise DataError(f"{path} is not what {RECORD_NAME} says; build the corpus again")
        loaded.append(data)
    return datasets.concatenate_datasets(loaded)
