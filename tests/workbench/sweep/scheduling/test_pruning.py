import numpy as np
import pytest

from workbench.sweep.scheduling.pruning import PRUNERS


def epochs_trained(pruner, curves):
    """Epochs that each of many trials gets, one after the other."""
    counts = []
    for trial, curve in enumerate(curves):
        counts.append(
            next((e for e, value in enumerate(curve, 1) if pruner.should_stop(str(trial), e, value)), len(curve))
        )
    return counts


@pytest.fixture
def curves():
    """Validation accuracies of 96 trials over 9 epochs; the better ones are better from the start."""
    levels = np.random.default_rng(0).uniform(0.2, 0.9, 96)
    return levels[:, None] * np.linspace(0.7, 1.0, 9)


@pytest.mark.parametrize(("name", "at_most"), [("median", 0.4), ("halving", 0.28)])
def test_the_best_trial_is_trained_in_full_for_a_part_of_all_epochs(curves, name, at_most):
    counts = epochs_trained(PRUNERS[name]("max", 9), curves)
    assert counts[int(curves[:, -1].argmax())] == 9
    assert sum(counts) < at_most * curves.size


def test_halving_judges_at_parts_of_the_longest_training(curves):
    assert set(epochs_trained(PRUNERS["halving"]("max", 9), curves)) == {1, 2, 9}
    longer = np.repeat(curves, 4, axis=1)[:, :32]  # epochs 1, 2, 8 and 32 are those of a training of 32
    assert set(epochs_trained(PRUNERS["halving"]("max", 32), longer)) == {1, 2, 8, 32}


def test_a_loss_is_better_when_lower(curves):
    counts = epochs_trained(PRUNERS["median"]("min", 9), 1 - curves)
    assert counts[int(curves[:, -1].argmax())] == 9
