"""The pre-training corpus: documents from a source, tokenised, split, packed, and written as Arrow files.

A corpus folder holds `train/` and (unless `validation_fraction` is 0) `validation/`, data sets with the columns
`input_ids` and `length`, and `corpus.json`: settings, statistics, the source's files and the tokenizer's hash.
Building holds all token ids in memory (4 bytes each).
"""

import hashlib
import itertools
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from pruneofa.atomic import replacing_folder, write_json
from pruneofa.data.packing import pack_blocks
from pruneofa.data.randomness import Purpose, generator
from pruneofa.data.rows import text_value
from pruneofa.data.sources import describe_source, read_rows
from pruneofa.data.tokenization import check_max_length, frame_tokens, tokenizer_hash
from pruneofa.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

__all__ = ["CorpusConfig", "build_corpus", "load_corpus"]

_logger = logging.getLogger(__name__)

_FORMAT = "pruneofa-corpus-1"
_SPLITS = ("train", "validation")
_TOKENIZE_BATCH = 1000
IntArray = npt.NDArray[np.int32]


class CorpusConfig(BaseModel):
    """Which text to pre-train on and how it is cut."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str | list[str] = Field(
        min_length=1, description="File, folder, glob, built-in data set or hub:NAME, or a list of them"
    )
    text_column: str = Field(default="text", min_length=1, description="Column that holds the text")
    max_length: int = Field(default=128, ge=8, description="Longest block in tokens, special tokens counted")
    validation_fraction: float = Field(
        default=0.02, ge=0.0, le=0.5, description="Share of the documents that is kept for validation"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Decides the split and which documents share a block")


def build_corpus(
    config: CorpusConfig,
    tokenizer: "PreTrainedTokenizerBase",
    output_dir: str | Path,
    model_max_length: int | None = None,
) -> dict[str, Any]:
    """Read, tokenise, split and pack the source, and write the corpus folder, all of it or nothing.

    The split is by a hash of the document's text, so a text that occurs twice is on one side only. The result depends
    on source, settings and tokenizer alone.

    Args:
        config: what to read and how to cut it.
        tokenizer: a fast tokenizer.
        output_dir: folder to write; an existing one is replaced.
        model_max_length: longest sequence that the model takes, in tokens.

    Returns:
        Statistics: `documents`, `dropped_empty`, and for each split `documents`, `tokens` (special tokens not counted),
        `unknown_tokens`, `blocks`, `mean_length` (tokens per block, special tokens counted).

    Raises:
        DataError: `max_length` over the model's limit, a faulty source, no text, no document left for a split.
    """
    check_max_length(config.max_length, model_max_length)
    start, end = frame_tokens(tokenizer)
    documents, hashes, dropped = _tokenised(config, tokenizer)
    splits = _split(documents, hashes, config)
    statistics: dict[str, Any] = {"documents": len(documents), "dropped_empty": dropped}
    with replacing_folder(output_dir) as folder:
        for index, (name, members) in enumerate(splits.items()):
            blocks = pack_blocks(
                members,
                max_length=config.max_length,
                start=start,
                end=end,
                generator=generator(Purpose.PACKING, config.seed, index=index),
            )
            _save(blocks, folder / name)
            statistics[name] = _split_statistics(members, blocks, tokenizer.unk_token_id)
        record = {
            "format": _FORMAT,
            "settings": config.model_dump(mode="json"),
            "tokenizer_sha256": tokenizer_hash(tokenizer),
            "source": describe_source(config.source),
            "statistics": statistics,
        }
        write_json(folder / "corpus.json", record)
    _logger.info("corpus of %d documents, %d training blocks", len(documents), statistics["train"]["blocks"])
    return statistics


def load_corpus(directory: str | Path, tokenizer: "PreTrainedTokenizerBase") -> dict[str, "Dataset"]:
    """Open a corpus folder (memory-mapped).

    Returns:
        `train` and, where there is one, `validation`; columns `input_ids` (list of int32) and `length`.

    Raises:
        DataError: no or a damaged corpus folder, or one that another tokenizer made.
    """
    folder = Path(directory)
    record = _read_record(folder)
    if record["tokenizer_sha256"] != tokenizer_hash(tokenizer):
        raise DataError(
            f"the corpus {folder} was made with another tokenizer (sha256 {str(record['tokenizer_sha256'])[:12]}..., "
            f"this one {tokenizer_hash(tokenizer)[:12]}...); build the corpus again with this model's tokenizer"
        )
    import datasets

    loaded: dict[str, Dataset] = {}
    for name in _SPLITS:
        expected = record["statistics"].get(name)
        if expected is None:
            continue
        try:
            loaded[name] = datasets.load_from_disk(str(folder / name))
        except Exception as error:  # the library raises what its many readers raise
            raise DataError(f"{folder / name} is damaged ({error}); build the corpus again") from error
        if len(loaded[name]) != expected["blocks"] or set(loaded[name].column_names) != {"input_ids", "length"}:
            raise DataError(f"{folder / name} is not what corpus.json says; build the corpus again")
    return loaded


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / "corpus.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{folder} is no corpus folder: {path.name} can't be read ({error}); build it first") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); build the corpus again") from error
    statistics = record.get("statistics") if isinstance(record, dict) else None
    if (
        not isinstance(statistics, dict)
        or record.get("format") != _FORMAT
        or "tokenizer_sha256" not in record
        or not all(isinstance(statistics.get(name, {"blocks": 0}), dict) for name in _SPLITS)
        or not all("blocks" in statistics.get(name, {"blocks": 0}) for name in _SPLITS)
        or "train" not in statistics
    ):
        raise DataError(f"{path} is not of the form {_FORMAT!r}; build the corpus again")
    return record


def _tokenised(config: CorpusConfig, tokenizer: "PreTrainedTokenizerBase") -> tuple[list[IntArray], list[int], int]:
    """Token ids and text hash (63 bits) of each document, and how many had no token."""
    documents: list[IntArray] = []
    hashes: list[int] = []
    dropped = 0
    for texts in _batches(text_value(row, config.text_column).strip() for row in read_rows(config.source)):
        encoded = tokenizer(
            texts,
            add_special_tokens=False,
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        for text, ids in zip(texts, encoded, strict=True):
            if not ids:
                dropped += 1
                continue
            documents.append(np.array(ids, dtype=np.int32))
            digest = hashlib.sha256(f"{config.seed}/{text}".encode()).digest()
            hashes.append(int.from_bytes(digest[:8], "big") >> 1)
    if not documents:
        raise DataError(
            f"the source {config.source!r} holds no text: {dropped} documents are empty "
            f"in column {config.text_column!r}; check the source and text_column"
        )
    return documents, hashes, dropped


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(itertools.islice(texts, _TOKENIZE_BATCH)):
        yield batch


def _split(documents: list[IntArray], hashes: list[int], config: CorpusConfig) -> dict[str, list[IntArray]]:
    if config.validation_fraction == 0.0:
        return {"train": documents}
    # At least one document validates, however few there are.
    threshold = max(int(config.validation_fraction * 2**63), min(hashes) + 1)
    splits: dict[str, list[IntArray]] = {name: [] for name in _SPLITS}
    for document, position in zip(documents, hashes, strict=True):
        splits["validation" if position < threshold else "train"].append(document)
    if not splits["train"]:
        raise DataError(
            f"the source {config.source!r} holds {len(documents)} documents, none of which is left for training "
            f"beside validation; give more documents (a text file needs a blank line between them) "
            f"or set validation_fraction to 0"
        )
    return splits


def _split_statistics(members: list[IntArray], blocks: list[IntArray], unknown: int | None) -> dict[str, Any]:
    return {
        "documents": len(members),
        "tokens": sum(map(len, members)),
        "unknown_tokens": 0 if unknown is None else sum(int(np.count_nonzero(ids == unknown)) for ids in members),
        "blocks": len(blocks),
        "mean_length": sum(map(len, blocks)) / len(blocks),
    }


def _save(blocks: list[IntArray], folder: Path) -> None:
    import datasets
    import pyarrow as pa

    lengths = np.array([len(block) for block in blocks], dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    table = pa.table(
        {
            "input_ids": pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(blocks))),
            "length": pa.array(lengths),
        }
    )
    with _no_progress_bars():
        datasets.Dataset(table).save_to_disk(str(folder))


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
