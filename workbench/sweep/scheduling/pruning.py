"""When a trial is not worth its remaining epochs, judged by what others had reached at the same epoch."""

import collections
import math
from collections.abc import Sequence
from typing import Literal, Protocol

from workbench.sweep.scheduling.recent_values import RecentValues

Direction = Literal["max", "min"]


class Pruner(Protocol):
    """Decides whether a trial should stop early."""

    def add(self, trial_id: str, epoch: int, value: float) -> None:
        """Record the value of the sweep's metric that a trial reached at an epoch."""

    def should_stop(self, trial_id: str, epoch: int, value: float) -> bool:
        """Record a value and return whether the trial should stop at this epoch."""


class MedianPruner:
    """Stops a trial that is below the median of the earlier trials at the same epoch.

    Source: Golovin et al., Google Vizier, KDD 2017 (the median stopping rule).

    Args:
        direction: `max` or `min`, of the metric.
        max_epochs: the largest number of epochs a trial may have.
    """

    min_trials = 5  # other trials that must have reached an epoch before any is stopped there

    def __init__(self, direction: Direction, max_epochs: int) -> None:
        self._sign = 1 if direction == "max" else -1
        self._max_epochs = max_epochs
        self._values: dict[int, RecentValues] = collections.defaultdict(RecentValues)  # by epoch; larger is better

    def add(self, trial_id: str, epoch: int, value: float) -> None:
        """Record the value that a trial reached at an epoch."""
        self._values[int(epoch)].add(trial_id, self._sign * value)

    def should_stop(self, trial_id: str, epoch: int, value: float) -> bool:
        """Record a value and return whether the trial should stop at this epoch."""
        self.add(trial_id, epoch, value)
        values = self._values[int(epoch)]
        if epoch >= self._max_epochs or len(values.sorted) <= self.min_trials:
            return False
        return self._sign * value < self._find_threshold(values.list_others(trial_id), int(epoch))

    def _find_threshold(self, others: Sequence[float], epoch: int) -> float:
        """Return the value that a trial must reach at an epoch, given the sorted values of the others."""
        return others[len(others) // 2]


class HalvingPruner(MedianPruner):
    """Lets only the best quarter pass each of a few epochs: a quarter of the longest training, a sixteenth, ...

    Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020 (asynchronous successive
    halving, here with a reduction factor of 4).

    Args:
        direction, max_epochs: as for `MedianPruner`.
        rungs: the epochs at which trials are compared, in place of those above.
        factor: the best 1/factor of the trials pass.
    """

    def __init__(
        self, direction: Direction, max_epochs: int, rungs: Sequence[int] | None = None, factor: float = 4
    ) -> None:
        super().__init__(direction, max_epochs)
        self._factor = factor
        self._rungs = set(rungs or (max(1, round(max_epochs / factor**power)) for power in range(1, 16)))
        self.min_trials = math.ceil(factor) - 1

    def _find_threshold(self, others: Sequence[float], epoch: int) -> float:
        if epoch not in self._rungs:
            return float("-inf")
        return others[len(others) - max(1, int((len(others) + 1) / self._factor))]


PRUNERS: dict[str, type[MedianPruner]] = {"median": MedianPruner, "halving": HalvingPruner}
