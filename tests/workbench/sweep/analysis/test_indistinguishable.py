import numpy as np
import pytest

from workbench.evaluation.metrics.statistics import holm, mcnemar
from workbench.sweep.analysis.indistinguishable import compare_with_winner


def test_each_trial_is_tested_as_mcnemar_and_holm_do():
    rng = np.random.default_rng(0)
    correct = rng.random((12, 80)) < np.linspace(0.9, 0.4, 12)[:, None]
    correct[3] = correct[2]
    tests = compare_with_winner(correct, 2)
    assert tests[2] is None
    others = [place for place in range(12) if place != 2]
    expected = [mcnemar(correct[2], correct[place]) for place in others]
    adjusted = holm([p for *_, p in expected])
    for place, (only, only_other, p), p_adjusted in zip(others, expected, adjusted, strict=True):
        found = tests[place]
        assert (found.only_winner, found.only_trial) == (only, only_other)
        assert (found.p, found.p_adjusted) == pytest.approx((p, p_adjusted))
    assert tests[3].p == 1
    assert not tests[3].is_distinguishable
    assert tests[11].is_distinguishable
