"""Tasks that embeddings are judged by, found by name in a folder; the layout of the files says of which kind each is.

- similarity: a file `NAME.tsv` (or `NAME/SPLIT.tsv`) with the columns sentence1, sentence2, score;
- classification: `NAME/train` and `NAME/SPLIT` with the columns text, label;
- retrieval: BEIR's layout: `NAME/corpus` (_id, title, text), `NAME/queries` (_id, text), `NAME/qrels_SPLIT` or
  `NAME/qrels/SPLIT` (query-id, corpus-id, score).

Any format and compression that `pruneofa.data.sources.files` reads will do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pruneofa.data.sources.files import is_row_file, read_row_file
from pruneofa.data.sources.rows import Row, text_value
from pruneofa.errors import DataError

__all__ = ["ClassificationTask", "EmbeddingTask", "RetrievalTask", "SimilarityTask", "load_task"]

SPLITS = ("test", "dev", "validation")
"""Which part is evaluated on: the first that is there."""


@dataclass(frozen=True)
class SimilarityTask:
    """Pairs of texts with a similarity that people gave them."""

    name: str
    first: list[str]
    second: list[str]
    scores: list[float]


@dataclass(frozen=True)
class ClassificationTask:
    """Labelled texts to learn from, and others to be judged on."""

    name: str
    train_texts: list[str]
    train_labels: list[str]
    test_texts: list[str]
    test_labels: list[str]


@dataclass(frozen=True)
class RetrievalTask:
    """Documents, queries, and which documents answer which query.

    Attributes:
        documents: id -> title and text, joined by a space.
        queries: id -> text; those alone that have a relevant document.
        relevant: query id -> document id -> how relevant it is.
    """

    name: str
    documents: dict[str, str]
    queries: dict[str, str]
    relevant: dict[str, dict[str, float]] = field(repr=False)


EmbeddingTask = SimilarityTask | ClassificationTask | RetrievalTask


def load_task(name: str, data_dir: Path) -> EmbeddingTask:
    """Read a task.

    Args:
        name: Of its file or folder in `data_dir`.
        data_dir: The folder of all.

    Raises:
        DataError: There is no such task, its files are of no known layout, or a value in them is wrong.
    """
    if not data_dir.is_dir():
        raise DataError(f"data_dir {str(data_dir)!r} is no folder; give the one that holds the tasks' files")
    folder = data_dir / name
    if folder.is_dir():
        return _from_folder(name, folder)
    file = _file(data_dir, name)
    if file is None:
        known = sorted(
            {path.name.partition(".")[0] for path in data_dir.iterdir() if path.is_dir() or is_row_file(path)}
        )
        raise DataError(
            f"task {name!r}: {str(data_dir)!r} has no file or folder of that name; it has {', '.join(known)}"
        )
    return _similarity(name, file)


def _from_folder(name: str, folder: Path) -> EmbeddingTask:
    corpus, queries = _file(folder, "corpus"), _file(folder, "queries")
    if corpus is not None and queries is not None:
        judged = [_file(folder, f"qrels_{split}") or _file(folder / "qrels", split) for split in SPLITS]
        qrels = next((file for file in judged if file is not None), None)
        if qrels is None:
            raise DataError(
                f"{folder}: has a corpus and queries, but no qrels_test; add it (query-id, corpus-id, score)"
            )
        return _retrieval(name, corpus, queries, qrels)
    test = next((file for split in SPLITS if (file := _file(folder, split)) is not None), None)
    if test is None:
        raise DataError(f"{folder}: has no file {', '.join(SPLITS)} to evaluate on, and no corpus and queries")
    if {"sentence1", "sentence2", "score"} <= next(read_row_file(test)).keys():
        return _similarity(name, test)
    train = _file(folder, "train")
    if train is None:
        raise DataError(f"{folder}: has {test.name} but no train file, from which a classifier is learned; add it")
    return _classification(name, train, test)


def _file(folder: Path, stem: str) -> Path | None:
    """The row file of a folder whose name without its endings is `stem`."""
    if not folder.is_dir():
        return None
    found = sorted(path for path in folder.iterdir() if path.name.partition(".")[0] == stem and is_row_file(path))
    if len(found) > 1:
        raise DataError(f"{folder}: {found[0].name} and {found[1].name} are both {stem!r}; keep one")
    return found[0] if found else None


def _similarity(name: str, file: Path) -> SimilarityTask:
    rows = _rows(file)
    first, second = _texts(rows, "sentence1"), _texts(rows, "sentence2")
    scores = [_number(row, "score") for row in rows]
    if len(set(scores)) < 2:
        raise DataError(f"{file}: every score is {scores[0]}; a rank correlation needs at least two different ones")
    return SimilarityTask(name, first, second, scores)


def _classification(name: str, train: Path, test: Path) -> ClassificationTask:
    known, judged = _rows(train), _rows(test)
    labels, truth = _texts(known, "label"), _texts(judged, "label")
    if unknown := sorted(set(truth) - set(labels)):
        raise DataError(f"{test}: the label {unknown[0]!r} is not in {train.name}, so it can't be learned")
    if len(set(labels)) < 2:
        raise DataError(f"{train}: every label is {labels[0]!r}; a classification needs at least two")
    return ClassificationTask(name, _texts(known, "text"), labels, _texts(judged, "text"), truth)


def _retrieval(name: str, corpus: Path, queries: Path, qrels: Path) -> RetrievalTask:
    documents = {
        text_value(row, "_id"): f"{row.get('title') or ''} {text_value(row, 'text')}".strip() for row in _rows(corpus)
    }
    relevant: dict[str, dict[str, float]] = {}
    for row in _rows(qrels):
        query, document = text_value(row, "query-id"), text_value(row, "corpus-id")
        if document not in documents:
            raise DataError(f"{row.origin}: corpus-id {document!r} is not in {corpus.name}")
        if (score := _number(row, "score")) > 0:
            relevant.setdefault(query, {})[document] = score
    texts = {text_value(row, "_id"): text_value(row, "text") for row in _rows(queries)}
    if missing := sorted(set(relevant) - set(texts)):
        raise DataError(f"{qrels}: query-id {missing[0]!r} is not in {queries.name}")
    if not relevant:
        raise DataError(f"{qrels}: names no relevant document, so there is nothing to evaluate")
    return RetrievalTask(name, documents, {query: texts[query] for query in relevant}, relevant)


def _rows(file: Path) -> list[Row]:
    rows = list(read_row_file(file))
    if not rows:
        raise DataError(f"{file}: has no rows")
    return rows


def _texts(rows: Sequence[Row], column: str) -> list[str]:
    return [text_value(row, column) for row in rows]


def _number(row: Row, column: str) -> float:
    text = row.get(column)
    try:
        number = float(text)  # type: ignore[arg-type]  # what is no number is told below
    except (TypeError, ValueError):
        number = float("nan")
    if not abs(number) < float("inf"):
        raise DataError(f"{row.origin}: {column} is {text!r:.60}, allowed is a number")
    return number
