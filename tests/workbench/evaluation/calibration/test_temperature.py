import numpy as np
import pytest

from workbench.evaluation.calibration.temperature import HIGHEST, LOWEST, compute_cross_entropy, fit_temperature
from workbench.evaluation.metrics.statistics import measure_calibration
from workbench.evaluation.probabilities import softmax


def draw_logits(temperature, count=4000):
    """Return (logits, labels), where the labels are drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (count, 5))
    probabilities = softmax(logits / temperature)
    labels = (probabilities.cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_of_the_labels_is_found(temperature):
    logits, labels = draw_logits(temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.08)
    confidence = softmax(logits / found).max(axis=1)
    assert measure_calibration(confidence, logits.argmax(axis=1) == labels).error < 0.025
    best = compute_cross_entropy(logits / found, labels)
    assert all(compute_cross_entropy(logits / (found * factor), labels) > best for factor in (0.9, 1.1))


def test_without_a_mistake_nothing_is_changed():
    logits = 2 * np.eye(3)
    assert fit_temperature(logits, np.arange(3)) == 1.0


def test_useless_logits_get_the_highest_temperature():
    logits, labels = 5 * np.eye(3), np.array([1, 2, 0])  # always wrong
    assert fit_temperature(logits, labels) == pytest.approx(HIGHEST, rel=0.01)
    assert LOWEST < 1 < HIGHEST
