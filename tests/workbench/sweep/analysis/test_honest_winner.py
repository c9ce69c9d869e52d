import numpy as np
import pytest

from workbench.sweep.analysis import resamples
from workbench.sweep.analysis.honest_winner import estimate_winner
from workbench.sweep.analysis.resamples import draw_resamples

VALIDATION, TEST = 200, 200


def simulate(rng, trials, images):
    """Trials that are right by chance: an image's difficulty is common to all, and the trials differ a little."""
    difficulty = rng.normal(1.0, 0.5, images)
    skill = rng.normal(0, 0.1, (trials, 1))
    return skill + difficulty + rng.normal(0, 1.0, (trials, images)) > 0


def test_the_interval_covers_the_accuracy_of_the_winner_on_new_images():
    rng = np.random.default_rng(0)
    covered, too_good, errors, sweeps = 0, [], [], 60
    for _ in range(sweeps):
        correct = simulate(rng, 40, VALIDATION + TEST)
        validation, test = correct[:, :VALIDATION], correct[:, VALIDATION:]
        found = estimate_winner(validation, 1.0 - validation, TEST)
        actual = test[validation.mean(axis=1).argmax()].mean()
        covered += found.low <= actual <= found.high
        too_good.append(found.best - actual)
        errors.append(found.expected - actual)
    assert covered >= 0.9 * sweeps
    assert np.mean(too_good) > 0.02
    assert abs(np.mean(errors)) < np.mean(too_good) / 2


def test_more_trials_of_equal_worth_make_the_best_look_better_but_not_the_estimate():
    rng = np.random.default_rng(1)
    correct = rng.random((256, VALIDATION)) < 0.8
    few, many = (estimate_winner(correct[:count], 1.0 - correct[:count], TEST) for count in (4, 256))
    assert many.best > few.best > 0.8
    assert few.expected == pytest.approx(0.8, abs=0.03)
    assert many.expected == pytest.approx(0.8, abs=0.03)


def test_one_trial_has_the_accuracy_that_it_has():
    correct = np.arange(VALIDATION)[None] < 150
    found = estimate_winner(correct, 1.0 - correct, 10 * VALIDATION)
    assert found.best == 0.75
    assert found.expected == pytest.approx(0.75, abs=1e-9)
    half = 1.96 * np.sqrt(0.75 * 0.25 * (1 / VALIDATION + 1 / (10 * VALIDATION)))
    assert (found.low, found.high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.01)


def test_a_perfect_winner_is_not_expected_to_stay_perfect():
    correct = np.ones((2, 50), bool)
    found = estimate_winner(correct, np.zeros((2, 50)), 50)
    assert found.best == found.high == 1
    assert 0.85 < found.low < 1


def test_trials_can_be_ranked_by_their_loss():
    correct = np.stack([np.arange(100) < 90, np.arange(100) < 60])
    losses = np.stack([np.full(100, 2.0), np.full(100, 1.0)])
    assert estimate_winner(correct, losses, 100).best == 0.9
    assert estimate_winner(correct, losses, 100, by_loss=True).best == 0.6


def test_resamples_have_as_many_images_as_there_are(monkeypatch):
    monkeypatch.setattr(resamples, "_CHUNK", 4000)
    parts = list(draw_resamples(1000, 5))
    assert [part.shape for part in parts] == [(4, 1000), (1, 1000)]
    assert {int(counts.sum()) for part in parts for counts in part} == {1000}
    assert parts[0][0].tolist() != parts[0][1].tolist()
