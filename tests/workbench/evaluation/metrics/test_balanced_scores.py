import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from workbench.evaluation.metrics.balanced_scores import compute_balanced_scores, measure_balanced_scores
from workbench.evaluation.metrics.bootstrap import bootstrap_intervals
from workbench.evaluation.metrics.statistics import wilson_interval


def draw_predictions(count, right, seed=0):
    """Return (labels, predictions) of an uneven data set of three classes, of which a share is right."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, count, p=[0.7, 0.2, 0.1])
    return labels, np.where(rng.random(count) < right, labels, rng.integers(3, size=count))


def test_the_scores_are_those_of_scikit_learn():
    labels, predicted = draw_predictions(200, 0.6)
    expected = balanced_accuracy_score(labels, predicted), f1_score(labels, predicted, average="macro")
    assert compute_balanced_scores(labels, predicted, 3) == pytest.approx(expected)


def test_classes_without_images_do_not_count():
    labels, predicted = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    # recalls 1/2 and 1; F1 2/3 and 1; the third class is only predicted, the fourth does not occur
    assert compute_balanced_scores(labels, predicted, 4) == pytest.approx([0.75, (2 / 3 + 1) / 2])


def test_intervals_without_a_mistake_are_not_certain():
    labels = np.array([0, 1, 2] * 5)
    found = measure_balanced_scores(labels, labels, 3)
    assert found["balanced_accuracy"] == found["macro_f1"] == 1
    assert found["macro_f1_interval"] == found["balanced_accuracy_interval"] == wilson_interval(15, 15)


def test_the_bootstrap_of_a_mean_is_its_normal_interval():
    values = np.random.default_rng(1).normal(5, 2, 400)
    (interval,) = bootstrap_intervals(lambda rows: values[rows].mean(keepdims=True), 400)
    half = 1.96 * values.std() / 20
    np.testing.assert_allclose(interval, [values.mean() - half, values.mean() + half], atol=0.1 * half)
    (again,) = bootstrap_intervals(lambda rows: values[rows].mean(keepdims=True), 400)
    np.testing.assert_array_equal(again, interval)


def test_intervals_cover_the_true_balanced_accuracy():
    truth = 0.6 + 0.4 / 3
    covered = 0
    for seed in range(20):
        found = measure_balanced_scores(*draw_predictions(300, 0.6, seed), 3)
        low, high = found["balanced_accuracy_interval"]
        assert low <= found["balanced_accuracy"] <= high
        covered += low <= truth <= high
    assert covered >= 16  # 19 of 20 are expected
