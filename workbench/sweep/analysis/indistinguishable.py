"""The trials of a sweep that are not distinguishable from its winner on the validation images."""

import dataclasses

import numpy as np

from workbench.evaluation.metrics.statistics import compute_mcnemar_p, holm

LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """The test of a trial against the winner.

    Attributes:
        only_winner, only_trial: number of validation images that only one of the two classifies correctly.
        p: p-value of McNemar's exact test.
        p_adjusted: the same, adjusted by Holm's method for the number of trials.
    """

    only_winner: int
    only_trial: int
    p: float
    p_adjusted: float

    @property
    def is_distinguishable(self) -> bool:
        """Whether the trial is worse, or better, than the winner by more than chance explains."""
        return self.p_adjusted < LEVEL


def compare_with_winner(correct: np.ndarray, winner: int) -> list[PairedTest | None]:
    """Test each trial against the winner on the same images, with all tests together at a level of 5 %.

    Args:
        correct: for each trial and validation image whether the trial classifies it correctly, bool (trials, n).
        winner: place of the winner.

    Returns:
        One test for each trial, None for the winner itself.
    """
    only_winner = (correct[winner] & ~correct).sum(axis=1)
    only_trial = (correct & ~correct[winner]).sum(axis=1)
    p = compute_mcnemar_p(only_winner, only_trial)
    others = [place for place in range(len(correct)) if place != winner]
    tests: list[PairedTest | None] = [None] * len(correct)
    for place, adjusted in zip(others, holm(p[others]), strict=True):
        tests[place] = PairedTest(int(only_winner[place]), int(only_trial[place]), float(p[place]), adjusted)
    return tests
