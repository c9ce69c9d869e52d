"""When a trial is not worth its remaining epochs, judged by what others had reached at the same epoch."""

import collections


class MedianPruner:
    """Stops a trial that is below the median of the earlier trials at the same epoch.

    Source: Golovin et al., Google Vizier, KDD 2017 (the median stopping rule).

    Args:
        direction: `max` or `min`, of the objective.
        max_epochs: the largest number of epochs a trial may have.
    """

    FEWEST = 5  # other trials that must have reached an epoch before anything is pruned there

    def __init__(self, direction, max_epochs):
        self._sign = 1 if direction == "max" else -1
        self._max_epochs = max_epochs
        self._values = collections.defaultdict(dict)  # epoch -> trial id -> value, larger is better

    def add(self, trial_id, epoch, value):
        """Take note of what a trial reached."""
        self._values[int(epoch)][trial_id] = self._sign * value

    def prunes(self, trial_id, epoch, value):
        """Take note of what a trial reached, and tell whether it should stop there."""
        self.add(trial_id, epoch, value)
        values = self._values[int(epoch)]
        if epoch >= self._max_epochs or len(values) <= self.FEWEST:
            return False
        others = sorted(v for other, v in values.items() if other != trial_id)
        return self._sign * value < self._threshold(others, int(epoch))

    def _threshold(self, others, epoch):
        return others[len(others) // 2]


class HalvingPruner(MedianPruner):
    """Lets only the best quarter pass each of a few epochs: a quarter of the longest training, a sixteenth, ...

    Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020 (asynchronous
    successive halving, here with a reduction factor of 4).
    """

    FACTOR = 4
    FEWEST = FACTOR - 1

    def __init__(self, direction, max_epochs):
        super().__init__(direction, max_epochs)
        self._rungs = {max(1, round(max_epochs / self.FACTOR**power)) for power in range(1, 16)}

    def _threshold(self, others, epoch):
        if epoch not in self._rungs:
            return float("-inf")
        return others[len(others) - max(1, (len(others) + 1) // self.FACTOR)]


PRUNERS = {"median": MedianPruner, "halving": HalvingPruner}
