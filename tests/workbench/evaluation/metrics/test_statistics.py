import numpy as np
import pytest

from workbench.evaluation.metrics.statistics import holm, list_confusions, mcnemar, measure_calibration, wilson_interval
from workbench.evaluation.probabilities import is_in_top, softmax


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [(8, 10, 0.49016, 0.94332), (0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_interval_of_the_textbook(successes, total, low, high):
    assert wilson_interval(successes, total) == pytest.approx((low, high), abs=5e-5)


def test_is_in_top():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.4, 0.2]])
    assert is_in_top(probabilities, [0, 1, 1], 1).tolist() == [True, False, False]  # of equal ones the first counts
    assert is_in_top(probabilities, [0, 1, 1], 2).tolist() == [True, True, True]
    assert is_in_top(probabilities, [2, 0, 2], 2).tolist() == [False, False, False]


def test_calibration_by_hand():
    found = measure_calibration([0.95, 0.97, 0.55, 0.59], [1, 0, 1, 1], num_bins=10)
    np.testing.assert_allclose(found.low, [0.5, 0.9])
    np.testing.assert_allclose(found.count, [2, 2])
    np.testing.assert_allclose(found.confidence, [0.57, 0.96])
    np.testing.assert_allclose(found.accuracy, [1, 0.5])
    assert found.error == pytest.approx((0.43 * 2 + 0.46 * 2) / 4)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    found = measure_calibration([0.0, 0.5, 0.5001, 1.0], [0, 1, 1, 1], num_bins=2)
    assert found.count.tolist() == [2, 2]


def test_calibration_weighs_bins_by_their_images():
    found = measure_calibration([0.9] * 9 + [0.6], [1] * 9 + [0], num_bins=15)
    assert found.error == pytest.approx(0.9 * 0.1 + 0.1 * 0.6)


def test_list_confusions():
    assert list_confusions([[5, 1, 0], [3, 9, 0], [0, 1, 7]]) == [(1, 0, 3), (0, 1, 1), (2, 1, 1)]
    assert list_confusions(np.eye(3, dtype=int)) == []


def test_mcnemar_counts_only_images_that_one_classifier_gets_right():
    correct, other = [1] * 20 + [1] * 1 + [0] * 8 + [0] * 5, [1] * 20 + [0] * 1 + [1] * 8 + [0] * 5
    assert mcnemar(correct, other) == (1, 8, pytest.approx(2 * (1 + 9) / 2**9))
    assert mcnemar(other, correct) == (8, 1, pytest.approx(20 / 512))
    assert mcnemar([1, 0, 1], [1, 0, 1]) == (0, 0, 1.0)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]


def test_softmax():
    np.testing.assert_allclose(softmax([[0, 0], [np.log(3), 0]]), [[0.5, 0.5], [0.75, 0.25]])
    np.testing.assert_allclose(softmax([1000.0, 0.0]), [1, 0])
