import numpy as np
import pytest

from workbench.evaluation.probabilities import softmax
from workbench.sweep.analysis.ensemble import build_ensemble, select_members


def make_trials(rng, noises, images=300, classes=5):
    """Probabilities of trials whose errors are independent, the more of them the larger the noise."""
    labels = rng.integers(classes, size=images)
    signal = 2.0 * np.eye(classes)[labels]
    logits = np.stack([signal + noise * rng.normal(size=(images, classes)) for noise in noises])
    return softmax(logits).astype(np.float32), labels


def test_trials_with_independent_errors_gain_and_the_interval_says_so():
    probabilities, labels = make_trials(np.random.default_rng(0), [1.4, 1.5, 1.5, 1.6])
    found = build_ensemble(probabilities, labels)
    assert len(found.weights) >= 3
    assert sum(found.weights.values()) == pytest.approx(1)
    assert found.accuracy > found.single == (probabilities.argmax(axis=2) == labels).mean(axis=1).max()
    assert 0 < found.low < found.gain < found.high
    new, new_labels = make_trials(np.random.default_rng(1), [1.4, 1.5, 1.5, 1.6], images=20_000)
    average = sum(weight * new[place] for place, weight in found.weights.items())
    gain = (average.argmax(axis=1) == new_labels).mean() - (new[0].argmax(axis=1) == new_labels).mean()
    assert found.low < gain < found.high


def test_copies_of_one_trial_gain_nothing():
    probabilities, labels = make_trials(np.random.default_rng(2), [1.5])
    found = build_ensemble(np.repeat(probabilities, 3, axis=0), labels)
    assert (found.gain, found.low, found.high) == (0, 0, 0)


def test_a_bad_trial_is_left_out_and_a_good_one_may_count_twice():
    probabilities, labels = make_trials(np.random.default_rng(3), [0.8, 1.2, 40.0])
    members = select_members(probabilities, labels, np.ones(len(labels)))
    assert members[0] == 0
    assert 2 not in members
    assert members.count(0) > members.count(1) > 0


def test_images_that_are_not_in_a_resample_have_no_part_in_the_selection():
    probabilities, labels = make_trials(np.random.default_rng(4), [1.0, 1.5, 2.0])
    counts = np.random.default_rng(5).multinomial(len(labels), np.full(len(labels), 1 / len(labels)))
    repeated = np.repeat(np.arange(len(labels)), counts)
    changed = np.where((counts == 0)[:, None], probabilities[:, ::-1], probabilities)
    expected = select_members(probabilities[:, repeated], labels[repeated], np.ones(len(repeated)))
    assert select_members(probabilities, labels, counts) == expected
    assert select_members(changed, labels, counts) == expected


def test_a_sweep_by_loss_begins_with_the_trial_of_the_lowest_loss():
    labels = np.arange(40) % 2
    right = np.eye(2)[labels]
    often = np.where(right == 1, 0.51, 0.49)  # always right, but hardly
    sure = np.where(right == 1, 0.95, 0.05)
    sure[:2] = [[0.45, 0.55], [0.55, 0.45]]  # wrong twice
    probabilities = np.stack([often, sure]).astype(np.float32)
    assert select_members(probabilities, labels, np.ones(40))[0] == 0
    assert set(select_members(probabilities, labels, np.ones(40), by_loss=True)) == {1}
    found = build_ensemble(probabilities, labels, by_loss=True)
    assert (found.weights, found.single) == ({1: 1.0}, 38 / 40)
