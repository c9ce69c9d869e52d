import numpy as np
import pytest

from workbench.metrics import calibration, confused_pairs, holm, in_top, mcnemar, wilson_interval


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [(8, 10, 0.49016, 0.94332), (0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_interval_of_the_textbook(successes, total, low, high):
    assert wilson_interval(successes, total) == pytest.approx((low, high), abs=5e-5)


def test_in_top():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.4, 0.2]])
    assert in_top(probabilities, [0, 1, 1], 1).tolist() == [True, False, False]  # among equals the first counts
    assert in_top(probabilities, [0, 1, 1], 2).tolist() == [True, True, True]
    assert in_top(probabilities, [2, 0, 2], 2).tolist() == [False, False, False]


def test_calibration_by_hand():
    found = calibration([0.95, 0.97, 0.55, 0.59], [1, 0, 1, 1], num_bins=10)
    np.testing.assert_allclose(found.low, [0.5, 0.9])
    np.testing.assert_allclose(found.count, [2, 2])
    np.testing.assert_allclose(found.confidence, [0.57, 0.96])
    np.testing.assert_allclose(found.accuracy, [1, 0.5])
    assert found.error == pytest.approx((0.43 * 2 + 0.46 * 2) / 4)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    found = calibration([0.0, 0.5, 0.5001, 1.0], [0, 1, 1, 1], num_bins=2)
    assert found.count.tolist() == [2, 2]


def test_calibration_weighs_bins_by_their_images():
    found = calibration([0.9] * 9 + [0.6], [1] * 9 + [0], num_bins=15)
    assert found.error == pytest.approx(0.9 * 0.1 + 0.1 * 0.6)


def test_confused_pairs():
    assert confused_pairs([[5, 1, 0], [3, 9, 0], [0, 1, 7]]) == [(1, 0, 3), (0, 1, 1), (2, 1, 1)]
    assert confused_pairs(np.eye(3, dtype=int)) == []


def test_mcnemar_counts_only_what_tells_the_two_apart():
    correct, other = [1] * 20 + [1] * 1 + [0] * 8 + [0] * 5, [1] * 20 + [0] * 1 + [1] * 8 + [0] * 5
    assert mcnemar(correct, other) == (1, 8, pytest.approx(2 * (1 + 9) / 2**9))
    assert mcnemar(other, correct) == (8, 1, pytest.approx(20 / 512))
    assert mcnemar([1, 0, 1], [1, 0, 1]) == (0, 0, 1.0)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
