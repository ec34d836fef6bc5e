"""The paired bootstrap beside one that draws example by example, and its metrics beside the libraries'."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from pruneofa.data.metrics.comparison import compare_classes, compare_numbers, compare_scores
from pruneofa.data.metrics.task_metrics import classification_metrics, regression_metrics
from pruneofa.errors import ConfigurationError, DataError


def predictions(seed, classes, count=300):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)

    def right(share):
        return np.where(random.random(count) < share, labels, random.integers(0, classes, count))

    return labels, right(0.6), right(0.7)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 60), st.sampled_from(["accuracy", "f1", "matthews"]))
def test_both_values_are_scikit_learns(seed, classes, count, metric):
    labels, first, second = predictions(seed, classes, count)
    found = compare_classes(metric, labels, first, second, classes, resamples=3)
    for value, predicted in ((found.first, first), (found.second, second)):
        assert value == pytest.approx(classification_metrics(predicted, labels, metric, classes)[metric], abs=1e-12)
    assert found.difference == found.second - found.first


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "classes", "measure"),
    [
        ("accuracy", 3, accuracy_score),
        ("f1", 2, f1_score),
        ("f1", 3, lambda truth, found: f1_score(truth, found, average="macro", zero_division=0.0)),
        ("matthews", 3, matthews_corrcoef),
    ],
)
def test_the_interval_is_that_of_drawing_examples(metric, classes, measure):
    labels, first, second = predictions(1, classes)
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(1500):
        picked = random.integers(0, len(labels), len(labels))
        drawn.append(measure(labels[picked], second[picked]) - measure(labels[picked], first[picked]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    found = compare_classes(metric, labels, first, second, classes, resamples=20_000)
    width = high - low
    assert found.low == pytest.approx(low, abs=0.12 * width)
    assert found.high == pytest.approx(high, abs=0.12 * width)


def test_scores_by_example_and_numbers():
    random = np.random.default_rng(0)
    first, second = random.random(400), random.random(400)
    found = compare_scores("f1", first, second, resamples=20_000)
    assert (found.first, found.second) == (pytest.approx(first.mean()), pytest.approx(second.mean()))
    # Of a mean the bootstrap's spread is known.
    spread = (second - first).std() / np.sqrt(400)
    assert (found.low, found.high) == (
        pytest.approx(found.difference - 1.96 * spread, abs=0.1 * spread),
        pytest.approx(found.difference + 1.96 * spread, abs=0.1 * spread),
    )
    labels = random.normal(size=200)
    one, two = labels + random.normal(size=200), labels + 0.3 * random.normal(size=200)
    for metric in ("pearson", "spearman", "mse"):
        compared = compare_numbers(metric, labels, one, two, resamples=500)
        assert compared.first == pytest.approx(regression_metrics(one, labels)[metric], abs=1e-12)
        assert compared.second == pytest.approx(regression_metrics(two, labels)[metric], abs=1e-12)
        assert compared.low < compared.difference < compared.high
        assert (compared.low > 0) == (metric != "mse")


def test_the_same_seed_gives_the_same_interval_and_the_same_model_none():
    labels, first, second = predictions(2, 2)
    same = [compare_classes("f1", labels, first, second, 2, seed=seed, resamples=300) for seed in (3, 3, 4)]
    assert same[0] == same[1] != same[2]
    nothing = compare_classes("accuracy", labels, first, first, 2)
    assert (nothing.difference, nothing.low, nothing.high) == (0.0, 0.0, 0.0)
    assert compare_numbers("pearson", [1.0, 2.0], [3.0, 3.0], [1.0, 2.0], resamples=5).first == 0.0


def test_a_large_comparison_is_drawn_in_chunks(monkeypatch):
    labels, first, second = predictions(2, 3)
    monkeypatch.setattr("pruneofa.data.metrics.comparison._CHUNK", 10_000)
    for found in (
        compare_classes("accuracy", labels, first, second, 3, resamples=1234),
        compare_numbers("mse", labels, first, second, resamples=101),
        compare_scores("f1", first / 3, second / 3, resamples=1234),
    ):
        assert found.resamples in (1234, 101) and found.low < found.high


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: compare_scores("f1", np.zeros(2), np.zeros(3)), DataError, "2 and 3 predictions can't be compared"),
        (lambda: compare_scores("f1", np.zeros(0), np.zeros(0)), DataError, "both models need the same examples"),
        (lambda: compare_scores("f1", np.zeros(2), np.zeros(2), resamples=0), ConfigurationError, "resamples is 0"),
        (lambda: compare_scores("f1", np.zeros(2), np.zeros(2), level=1.0), ConfigurationError, "level is 1.0"),
        (lambda: compare_numbers("f1", *[np.zeros(2)] * 3), ConfigurationError, "allowed: pearson, spearman, mse"),
        (
            lambda: compare_classes("bleu", *[np.zeros(2, int)] * 3, 2),
            ConfigurationError,
            "metric is 'bleu'; allowed: accuracy, f1, matthews",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
