import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from pruneofa.data.metrics import classification_metrics
from pruneofa.errors import ConfigurationError, DataError


@pytest.mark.parametrize(("classes", "average"), [(2, "binary"), (4, "macro")])
def test_figures_are_scikit_learns(classes, average):
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(80, classes)), random.integers(0, classes, 80)
    predictions = logits.argmax(1)
    found = classification_metrics(logits, labels, ["accuracy", "f1", "matthews"])
    assert found == {
        "accuracy": accuracy_score(labels, predictions),
        "f1": f1_score(labels, predictions, average=average),
        "matthews": matthews_corrcoef(labels, predictions),
    }
    assert classification_metrics(predictions, labels, "f1", label_count=classes) == {"f1": found["f1"]}
    assert all(type(value) is float for value in found.values())


def test_binary_f1_counts_class_one():
    assert classification_metrics([1, 0, 0, 1], [1, 1, 0, 0], "f1") == {"f1": 0.5}
    assert classification_metrics([0, 0], [0, 0], "f1", label_count=2) == {"f1": 0.0}


@pytest.mark.parametrize(
    ("predictions", "labels", "names", "error", "message"),
    [
        ([0], [0], "rouge", ConfigurationError, "unknown metric 'rouge'; known: accuracy, f1, matthews"),
        ([0, 1], [0], "f1", DataError, r"predictions of shape \(2,\) don't go with labels of shape \(1,\)"),
        ([], [], "f1", DataError, "with at least one example"),
        ([[np.nan, 0.0]], [0], "f1", DataError, "the logits hold NaN or infinity"),
    ],
)
def test_errors(predictions, labels, names, error, message):
    with pytest.raises(error, match=message):
        classification_metrics(predictions, labels, names)
