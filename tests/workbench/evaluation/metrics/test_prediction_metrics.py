import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from workbench.evaluation.metrics.prediction_metrics import count_predictions, measure

NAMES = ["aster", "broom", "clover", "daisy", "elder"]


def test_the_metrics_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)  # no image is a daisy or an elder
    logits = rng.normal(0, 2, (200, 5)) + 2 * np.eye(5)[labels]
    logits[:, 4] = -50  # and none is predicted to be an elder
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    metrics, predicted, classes = measure(labels, probabilities, NAMES), probabilities.argmax(axis=1), range(5)
    np.testing.assert_array_equal(
        count_predictions(labels, predicted, 5), confusion_matrix(labels, predicted, labels=classes)
    )
    scores = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    for row, name, *expected in zip(metrics["per_class"], NAMES, *scores, strict=True):
        assert row["class"] == name
        assert [row["precision"], row["recall"], row["f1"], row["images"]] == pytest.approx(expected)
    assert metrics["loss"] == pytest.approx(log_loss(labels, probabilities, labels=classes))


def test_a_certain_mistake_has_a_finite_loss():
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0]])
    loss = measure([1, 1], probabilities, ["aster", "broom"])["loss"]
    assert loss == pytest.approx(log_loss([1, 1], probabilities, labels=[0, 1]))
    assert 15 < loss < 20
