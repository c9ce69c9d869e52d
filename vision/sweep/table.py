"""The trials of a sweep as a table: trials.csv, the best of them, and whose weights are kept."""

import dataclasses
from pathlib import Path

from keras_tuner.engine.trial import TrialStatus

from vision.runs import append_csv, write_csv
from vision.sweep.space import decode

KEPT_WEIGHTS = 5  # best trials whose weights stay on disk
RESULTS = ("val_accuracy", "val_loss", "accuracy", "loss", "best_epoch", "epochs", "seconds", "parameters")


@dataclasses.dataclass(frozen=True)
class TrialTable:
    """The trials of a sweep as rows, for trials.csv and for the screen.

    Attributes:
        path: of trials.csv.
        oracle: the `GridOracle` that has the trials.
    """

    path: Path
    oracle: object

    def row(self, trial):
        """One trial: number, status, results, parameters, and the reason of a failure."""
        results = {name: _metric(trial, name) for name in RESULTS}
        return {
            "trial": trial.trial_id,
            "status": trial.status.lower(),
            **results,
            **decode(trial.hyperparameters.values),
            "reason": trial.message or "",
        }

    def write(self):
        """Write trials.csv anew from the trials' own files, with which it may be out of step after a kill."""
        write_csv(self.path, [self.row(trial) for trial in self.oracle.finished_trials()])

    def best(self, count):
        """The best completed trials, the best first; the lower validation loss among equals."""
        completed = [t for t in self.oracle.finished_trials() if t.status == TrialStatus.COMPLETED]
        sign = 1 if self.oracle.objective.direction == "max" else -1
        return sorted(completed, key=lambda t: (-sign * t.score, _metric(t, "val_loss") or 0.0))[:count]

    def append(self, trial):
        """Add the row of a trial that has just ended."""
        append_csv(self.path, self.row(trial))

    def prune_weights(self, weights_path):
        """Remove the weights of all but the best trials.

        Args:
            weights_path: trial -> path of its weights.
        """
        kept = {trial.trial_id for trial in self.best(KEPT_WEIGHTS)}
        for trial in self.oracle.finished_trials():
            if trial.trial_id not in kept:
                weights_path(trial).unlink(missing_ok=True)


def _metric(trial, name):
    return trial.metrics.get_last_value(name) if trial.metrics.exists(name) else ""
