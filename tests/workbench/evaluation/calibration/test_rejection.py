import numpy as np
import pytest

from workbench.evaluation.calibration.rejection import choose_threshold, measure_rejection
from workbench.evaluation.metrics.statistics import wilson_interval


def test_the_threshold_keeps_a_share_of_the_right_predictions():
    confidence = np.arange(1, 21) / 20  # one of 20 right ones is 5 %
    assert choose_threshold(confidence, np.ones(20, bool)) == pytest.approx(0.1)
    assert choose_threshold(confidence[:19], np.ones(19, bool)) == pytest.approx(0.05)  # one would be more than 5 %
    wrong_are_low = np.concatenate([confidence, np.full(5, 0.01)])
    assert choose_threshold(wrong_are_low, np.arange(25) < 20) == pytest.approx(0.1)
    assert choose_threshold(confidence, np.zeros(20, bool)) == 0.0


@pytest.mark.parametrize("count", [1, 7, 40, 333])
def test_at_least_95_percent_stay_known(count):
    rng = np.random.default_rng(count)
    confidence, correct = rng.random(2 * count), np.arange(2 * count) < count
    rates = measure_rejection(confidence, correct, choose_threshold(confidence, correct))
    assert rates["right_unknown"]["share"] <= 0.05
    assert rates["right_unknown"]["count"] == int(0.05 * count)  # not fewer than needed


def test_error_rates_by_hand():
    confidence, correct = np.array([0.9, 0.8, 0.4, 0.7, 0.3]), np.array([True, True, True, False, False])
    rates = measure_rejection(confidence, correct, 0.7)
    assert rates["right_unknown"] == {"count": 1, "of": 3, "share": 1 / 3, "interval": wilson_interval(1, 3)}
    assert rates["wrong_known"] == {"count": 1, "of": 2, "share": 0.5, "interval": wilson_interval(1, 2)}
    assert rates["right_of_known"]["count"] == 2
    assert rates["right_of_known"]["of"] == 3
    none_wrong = measure_rejection(confidence[:3], correct[:3], 0.7)
    assert none_wrong["wrong_known"] == {"count": 0, "of": 0, "share": 0.0, "interval": (0.0, 1.0)}
