"""Scores of embeddings against scipy, scikit-learn and small cases that can be counted by hand."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import ndcg_score

from pruneofa.errors import ConfigurationError
from pruneofa.evaluation.recovery import recovery
from pruneofa.evaluation.scoring import DRAWS, EXAMPLES_A_CLASS, TaskScore, score_task
from pruneofa.evaluation.task_files import ClassificationTask, RetrievalTask, SimilarityTask


def embedder(seed=0, dimensions=6):
    """A random but fixed embedding for each text."""

    def embed(texts):
        rows = [np.random.default_rng([seed, *text.encode()]).normal(size=dimensions) for text in texts]
        return np.array(rows, dtype=np.float32)

    return embed


def similarity(pairs=40):
    random = np.random.default_rng(1)
    scores = [float(score) for score in random.integers(0, 6, pairs)]
    return SimilarityTask("sts", [f"a{i}" for i in range(pairs)], [f"b{i}" for i in range(pairs)], scores)


def test_similarity_is_the_rank_correlation_of_cosines():
    task, embed = similarity(), embedder()
    one, two = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (embed(task.first), embed(task.second)))
    found = score_task(task, embed)
    assert found.score == pytest.approx(spearmanr((one * two).sum(axis=1), task.scores).statistic, abs=1e-6)
    assert found.metric == "cosine_spearman" and len(found.values) == 40


def test_retrieval_is_scikit_learns_ndcg():
    random = np.random.default_rng(2)
    documents = {f"d{i}": f"text {i}" for i in range(30)}
    queries = {f"q{i}": f"query {i}" for i in range(5)}
    relevant = {
        query: {f"d{i}": float(random.integers(1, 4)) for i in random.choice(30, 4, replace=False)} for query in queries
    }
    embed = embedder()
    found = score_task(RetrievalTask("search", documents, queries, relevant), embed)
    unit = [
        side / np.linalg.norm(side, axis=1, keepdims=True)
        for side in map(embed, (queries.values(), documents.values()))
    ]
    truth = np.array([[relevant[query].get(name, 0.0) for name in documents] for query in queries])
    assert found.score == pytest.approx(ndcg_score(truth, unit[0] @ unit[1].T, k=10), abs=1e-6)


def test_a_query_is_no_answer_to_itself():
    documents = {"same": "x", "other": "y"}
    task = RetrievalTask("search", documents, {"same": "x"}, {"same": {"other": 1.0}})
    assert score_task(task, embedder()).score == 1.0


def test_classification_learns_from_eight_examples_of_each_class_ten_times():
    train = [f"{label} {i}" for label in ("one", "two", "three") for i in range(20)]
    seen = []

    def embed(texts):
        seen.append(list(texts))
        return np.array([[text.startswith(label) for label in ("one", "two", "three")] for text in texts], np.float32)

    labels = [text.split()[0] for text in train]
    task = ClassificationTask("topics", train, labels, ["one x", "two x", "two y"], ["one", "two", "three"])
    found = score_task(task, embed)
    assert found.score == pytest.approx(2 / 3)
    assert found.values.tolist() == [1.0, 1.0, 0.0]
    assert len(set(seen[1])) > 3 * EXAMPLES_A_CLASS  # draws differ
    assert len(seen[1]) <= min(len(train), DRAWS * 3 * EXAMPLES_A_CLASS)


def test_equal_models_keep_everything_and_the_interval_has_no_width():
    values = np.random.default_rng(6).normal(size=30)
    scores = [TaskScore("sts", "cosine_spearman", 1.0, values, values)]
    found = recovery(scores, scores, resamples=50)
    assert (found.mean_ratio.value, found.mean_ratio.low, found.mean_ratio.high) == (1.0, 1.0, 1.0)
    assert found.tasks[0].difference.value == found.tasks[0].difference.high == 0.0


def test_the_interval_is_that_of_paired_resampling():
    """Of accuracies: the difference of the means of n pairs has the standard error of the paired differences."""
    random = np.random.default_rng(3)
    one = random.random(400) < 0.8
    two = np.where(random.random(400) < 0.1, ~one, one)
    first, second = (TaskScore("t", "accuracy", float(side.mean()), side.astype(np.float64)) for side in (one, two))
    gap = recovery([first], [second]).tasks[0].difference
    error = np.std(two.astype(float) - one.astype(float)) / np.sqrt(400)
    assert gap.value == pytest.approx(two.mean() - one.mean())
    assert gap.high - gap.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_the_rank_correlation_of_a_resample_is_scipys():
    from pruneofa.evaluation.recovery import _spearman

    values = np.random.default_rng(4).normal(size=(3, 25))
    targets = np.random.default_rng(5).integers(0, 5, (3, 25)).astype(float)
    wanted = [spearmanr(one, two).statistic for one, two in zip(values, targets, strict=True)]
    assert _spearman(values, targets) == pytest.approx(wanted)


def test_models_that_were_scored_on_different_tasks_are_refused():
    scores = [score_task(similarity(), embedder())]
    with pytest.raises(ConfigurationError, match="both models must be scored on the same tasks"):
        recovery(scores, [])


def test_a_model_that_has_nothing_to_keep_is_refused():
    nothing = TaskScore("t", "accuracy", 0.0, np.zeros(3))
    with pytest.raises(ConfigurationError, match=r"scores 0\.0000, so there is nothing to keep"):
        recovery([nothing], [nothing])
