import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from pruneofa.data.metrics.task_metrics import classification_metrics, regression_metrics
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


@pytest.mark.parametrize("shape", [(60,), (60, 1)])
def test_correlations_are_scipys_and_torchmetrics(shape):
    from scipy.stats import pearsonr, spearmanr
    from torch import from_numpy
    from torchmetrics.functional import pearson_corrcoef, spearman_corrcoef

    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 60).astype(np.float64)  # with ties
    predictions = labels + random.normal(size=60)
    found = regression_metrics(predictions.reshape(shape), labels)
    assert found["pearson"] == pearsonr(predictions, labels).statistic
    assert found["spearman"] == spearmanr(predictions, labels).statistic
    assert found["pearson"] == pytest.approx(float(pearson_corrcoef(from_numpy(predictions), from_numpy(labels))))
    assert found["spearman"] == pytest.approx(float(spearman_corrcoef(from_numpy(predictions), from_numpy(labels))))
    assert found["mse"] == pytest.approx(((predictions - labels) ** 2).mean())


def test_classification_metrics_are_torchmetrics():
    from torch import from_numpy
    from torchmetrics.functional import matthews_corrcoef as torch_matthews
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

    random = np.random.default_rng(1)
    predictions, labels = random.integers(0, 3, 90), random.integers(0, 3, 90)
    found = classification_metrics(predictions, labels, ["accuracy", "f1", "matthews"], label_count=3)
    tensors = from_numpy(predictions), from_numpy(labels)
    assert found["accuracy"] == pytest.approx(float(multiclass_accuracy(*tensors, num_classes=3, average="micro")))
    assert found["f1"] == pytest.approx(float(multiclass_f1_score(*tensors, num_classes=3, average="macro")))
    assert found["matthews"] == pytest.approx(float(torch_matthews(*tensors, task="multiclass", num_classes=3)))


def test_a_correlation_that_is_undefined_counts_nothing():
    assert regression_metrics([1.0, 1.0], [0.0, 2.0]) == {"pearson": 0.0, "spearman": 0.0, "mse": 1.0}
    for predictions, labels in (([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([[1.0, 2.0]], [1.0])):
        with pytest.raises(DataError, match="needed: \\[examples\\] beside \\[examples\\], with at least two examples"):
            regression_metrics(predictions, labels)
    with pytest.raises(DataError, match="NaN or infinity"):
        regression_metrics([np.nan, 1.0], [1.0, 2.0])
