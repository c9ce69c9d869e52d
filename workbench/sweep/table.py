"""The trials of a sweep as a table: trials.csv, their ranking, and whose weights are kept."""

import bisect
from pathlib import Path

from workbench.files import append_csv, write_csv

RESULTS = (
    *("val_accuracy", "val_loss", "accuracy", "loss", "best_epoch", "epochs", "max_epochs"),
    *("seconds", "parameters", "started", "ended", "worker"),
)


class TrialTable:
    """The finished trials of a sweep as rows, kept up as trials end.

    Args:
        path: of trials.csv.
        oracle: the `workbench.sweep.oracle.TrialKeeper` that has the trials.
        keep: number of best trials whose weights stay on disk.
    """

    def __init__(self, path, oracle, keep):
        self.path, self.oracle, self._keep = Path(path), oracle, keep
        self._ranking = []  # (key, trial id) of the trials with a score, the best first
        self.failed = 0
        for trial in oracle.finished_trials():
            self._rank(trial)
        for _, trial_id in self._ranking[keep:]:
            self._drop_weights(trial_id)
        write_csv(self.path, self.rows())  # after a kill the file may be out of step with the trials

    def __len__(self):
        """Number of finished trials."""
        return len(self._ranking) + self.failed

    def row(self, trial):
        """One trial: id, status, results, times (Unix seconds), parameters, and the reason of a failure."""
        result = self.oracle.results[trial.trial_id]
        parameters = self.oracle.space.values(trial.hyperparameters.values)
        return {
            "trial": trial.trial_id,
            "status": result["status"],
            **{name: result.get(name, "") for name in RESULTS},
            **{name: value for name, value in parameters.items() if name not in RESULTS},
            "reason": result.get("reason", ""),
        }

    def rows(self):
        """All finished trials."""
        return [self.row(trial) for trial in self.oracle.finished_trials()]

    def best(self, count):
        """The best trials that did not fail, the best first; the lower validation loss among equals."""
        return [self.oracle.trials[trial_id] for _, trial_id in self._ranking[:count]]

    def add(self, trial):
        """Add a trial that has just ended; the weights that are no longer among the best are removed."""
        append_csv(self.path, self.row(trial))
        self._rank(trial)
        if len(self._ranking) > self._keep:
            for _, trial_id in self._ranking[self._keep : self._keep + 1]:
                self._drop_weights(trial_id)
            if trial.trial_id not in {trial_id for _, trial_id in self._ranking[: self._keep]}:
                self._drop_weights(trial.trial_id)

    def _rank(self, trial):
        if trial.score is None:
            self.failed += 1
            return
        sign = 1 if self.oracle.objective.direction == "max" else -1
        val_loss = self.oracle.results[trial.trial_id].get("val_loss", 0.0)
        bisect.insort(self._ranking, ((-sign * trial.score, val_loss), trial.trial_id))

    def _drop_weights(self, trial_id):
        (self.oracle.trial_dir(trial_id) / "weights.npz").unlink(missing_ok=True)
