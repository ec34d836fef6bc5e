"""Scores of embeddings by MTEB's protocol (Muennighoff et al., 2022, section 3.2), each with a value per example.

What `TaskScore.values` holds is what the bootstrap resamples: pairs, test texts, queries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pruneofa.evaluation.task_files import ClassificationTask, EmbeddingTask, RetrievalTask, SimilarityTask

__all__ = ["Embed", "TaskScore", "score_task"]

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts -> their embeddings, [texts, dimensions]."""

DRAWS = 10
EXAMPLES_A_CLASS = 8
RANKS = 10
SEED = 42
_QUERIES_AT_ONCE = 256


@dataclass(frozen=True)
class TaskScore:
    """What embeddings reach on one task.

    Attributes:
        task: Its name.
        metric: "cosine_spearman", "accuracy" or "ndcg_at_10".
        score: Its value; at most 1.
        values: For every example in order, [examples]: the cosine of a pair; the share of draws in which a text was
            classified right; the nDCG of a query.
        targets: The scores that people gave the pairs, [examples]; None for other kinds, whose score is the mean value.
    """

    task: str
    metric: str
    score: float
    values: NDArray[np.float64]
    targets: NDArray[np.float64] | None = None


def score_task(task: EmbeddingTask, embed: Embed) -> TaskScore:
    """Embed a task's texts and score them."""
    if isinstance(task, SimilarityTask):
        return _similarity(task, embed)
    if isinstance(task, ClassificationTask):
        return _classification(task, embed)
    return _retrieval(task, embed)


def _similarity(task: SimilarityTask, embed: Embed) -> TaskScore:
    """Spearman's correlation of the cosines with the scores that people gave, over all pairs."""
    from scipy.stats import spearmanr

    cosines = np.sum(_unit(embed(task.first)) * _unit(embed(task.second)), axis=1)
    targets = np.array(task.scores)
    return TaskScore(task.name, "cosine_spearman", float(spearmanr(cosines, targets).statistic), cosines, targets)


def _classification(task: ClassificationTask, embed: Embed) -> TaskScore:
    """Accuracy of a logistic regression on 8 examples of each class, mean of 10 draws of them."""
    from sklearn.linear_model import LogisticRegression

    test, truth = embed(task.test_texts), np.array(task.test_labels)
    labels = np.array(task.train_labels)
    chosen = _draws(labels)
    texts = sorted({int(index) for draw in chosen for index in draw})
    place = {index: row for row, index in enumerate(texts)}
    train = embed([task.train_texts[index] for index in texts])
    right = np.zeros(len(truth), dtype=np.float64)
    for draw in chosen:
        model = LogisticRegression(max_iter=100, random_state=SEED)
        model.fit(train[[place[int(index)] for index in draw]], labels[draw])
        right += model.predict(test) == truth
    right /= len(chosen)
    return TaskScore(task.name, "accuracy", float(right.mean()), right)


def _draws(labels: NDArray[np.str_]) -> list[NDArray[np.int64]]:
    """Indices of the examples of each draw: of a shuffled order of all, the first 8 of every class.

    As in MTEB each draw shuffles the order that the one before has left, with a generator of the same seed.
    """
    order = np.arange(len(labels))
    draws = []
    for _ in range(DRAWS):
        np.random.RandomState(SEED).shuffle(order)  # MTEB's own generator, for its very draws
        taken = [order[labels[order] == label][:EXAMPLES_A_CLASS] for label in np.unique(labels)]
        draws.append(np.sort(np.concatenate(taken)))
    return draws


def _retrieval(task: RetrievalTask, embed: Embed) -> TaskScore:
    """nDCG at 10 of the documents by cosine, with linear gains as trec_eval has them; a query may be no answer to
    itself, so a document of the query's own id is left out.
    """
    names = list(task.documents)
    documents = _unit(embed(list(task.documents.values())))
    queries = list(task.queries)
    embedded = _unit(embed([task.queries[query] for query in queries]))
    discounts = 1.0 / np.log2(np.arange(2, RANKS + 2))
    values = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        cosines = embedded[start : start + _QUERIES_AT_ONCE] @ documents.T
        for query, row in zip(queries[start : start + _QUERIES_AT_ONCE], cosines, strict=True):
            best = [names[index] for index in np.argsort(-row, kind="stable")[: RANKS + 1] if names[index] != query]
            relevant = task.relevant[query]
            gains = np.array([relevant.get(name, 0.0) for name in best[:RANKS]])
            ideal = np.sort(np.array(list(relevant.values())))[::-1][:RANKS]
            values.append(float(gains @ discounts[: len(gains)] / (ideal @ discounts[: len(ideal)])))
    scores = np.array(values)
    return TaskScore(task.name, "ndcg_at_10", float(scores.mean()), scores)


def _unit(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """Embeddings of length 1, in float64, so that cosines are those of the embeddings and not of the summation."""
    wide = embeddings.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: NDArray[np.float64] = wide / np.maximum(lengths, 1e-12)
    return unit
