"""From a file of texts to a file of answers, in the same order: labels with scores, spans, entities or vectors."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pruneofa.data.sources.reading import is_file_source, read_rows
from pruneofa.data.sources.rows import Row, text_value
from pruneofa.data.sources.text_file import read_text_lines
from pruneofa.engine.engine import Engine
from pruneofa.errors import ConfigurationError, DataError
from pruneofa.serving.writers import Value, write_records
from pruneofa.texts import Text

__all__ = ["check_output", "predict_file", "predictions"]

_ROWS_AT_ONCE = 256


def predict_file(
    engine: Engine,
    source: str,
    output: Path | BinaryIO,
    *,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write one answer for each row of a source; all of them, or nothing.

    Args:
        engine: What answers.
        source: What `read_rows` reads, but each line of a text file is a text; labels are neither needed nor read.
        output: A `.jsonl`, `.csv` or `.parquet` file, or an open binary file that gets JSON lines.
        text_column: Column of the text (default: text); of a model that answers questions that of the question.
        text_pair_column: Column of a pair's second text; of a model that answers questions that of the context.
        progress: Told the number of rows that are done.

    Returns:
        The number of rows.

    Raises:
        ConfigurationError: The output's name, see `check_output`.
        DataError: A row that can't be read, or whose column is missing or holds no text; names the file and line.
    """
    if isinstance(output, Path):
        check_output(output, source)
    count = 0

    def counted() -> Iterator[dict[str, Value]]:
        nonlocal count
        found = predictions(
            engine,
            read_rows(source, {".txt": read_text_lines}),
            text_column=text_column,
            text_pair_column=text_pair_column,
        )
        for record in found:
            count += 1
            if progress is not None and count % _ROWS_AT_ONCE == 0:
                progress(count)
            yield record

    write_records(counted(), output)
    return count


def predictions(
    engine: Engine, rows: Iterator[Row], *, text_column: str | None = None, text_pair_column: str | None = None
) -> Iterator[dict[str, Value]]:
    """An answer for each row, by the model's task.

    - a classifier: `label`, `score`, `scores`; of a model with a single output (regression, reranker) `score` alone;
    - question answering: `answer`, `start`, `end`, `score`, `null_score_difference`;
    - token classification: `entities`, each with `entity`, `score`, `word`, `start`, `end`;
    - an encoder: `vector`.

    Args:
        engine: What answers.
        rows: The texts.
        text_column, text_pair_column: As of `predict_file`.

    Raises:
        DataError: As `predict_file`.
    """
    columns: tuple[str | None, str | None] = (text_column, text_pair_column)
    if engine.task == "answer":
        columns = (text_column or "question", text_pair_column or "context")
    answers = {"classify": _labels, "answer": _spans, "label_tokens": _entities, None: _vectors}[engine.task]
    first, second = columns[0] or "text", columns[1]
    while chunk := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        texts = [_text(row, first, second) for row in chunk]
        yield from answers(engine, texts, chunk)


def check_output(output: Path, source: str) -> None:
    """See that answers can be written to `output`, before anything is computed.

    Raises:
        ConfigurationError: Another extension, a folder, no folder to write in, or the source itself.
    """
    if output.suffix not in (".jsonl", ".csv", ".parquet"):
        raise ConfigurationError(f"--output: is {str(output)!r}; give a name that ends in .jsonl, .csv or .parquet")
    if output.is_dir():
        raise ConfigurationError(f"--output: {str(output)!r} is a folder; name a file in it")
    if is_file_source(source) and output.exists() and Path(source).exists() and output.samefile(source):
        raise ConfigurationError(f"--output: {str(output)!r} is the file that is read; choose another name")


def _text(row: Row, first: str, second: str | None) -> Text:
    if row.fault is not None:
        raise DataError(row.fault.message)
    text = text_value(row, first)
    return text if second is None else (text, text_value(row, second))


def _labels(engine: Engine, texts: list[Text], rows: list[Row]) -> Iterator[dict[str, Value]]:
    for found in engine.classify(texts):
        if len(found.scores) == 1:
            yield {"score": found.score}
        else:
            yield {"label": found.label, "score": found.score, "scores": dict(found.scores)}


def _spans(engine: Engine, texts: list[Text], rows: list[Row]) -> Iterator[dict[str, Value]]:
    for pair, row in zip(texts, rows, strict=True):
        assert isinstance(pair, tuple)
        try:
            found = dataclasses.asdict(engine.answer(*pair))
        except DataError as error:
            raise DataError(f"{row.origin}: {error}") from None
        yield {"answer": found.pop("text"), **found}


def _entities(engine: Engine, texts: list[Text], rows: list[Row]) -> Iterator[dict[str, Value]]:
    plain = [text for text in texts if isinstance(text, str)]
    if len(plain) < len(texts):
        raise ConfigurationError("--text_pair_column: the model labels tokens of single texts; leave it out")
    for found in engine.label_tokens(plain):
        yield {"entities": [dataclasses.asdict(entity) for entity in found]}


def _vectors(engine: Engine, texts: list[Text], rows: list[Row]) -> Iterator[dict[str, Any]]:
    for vector in engine.embed(texts):
        yield {"vector": vector.tolist()}
