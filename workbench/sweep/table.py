"""The results of a sweep from an oracle's trials: the adapter between KerasTuner's trials and `sweep.results`."""

from pathlib import Path

from keras_tuner.engine.trial import Trial

from workbench.sweep.adaptive import BayesianOracle, HyperbandOracle
from workbench.sweep.oracle import GridOracle
from workbench.sweep.progress import RunningTrial
from workbench.sweep.results import ResultsRecorder, SweepResults, TrialResult, Value, make_result

Oracle = GridOracle | BayesianOracle | HyperbandOracle


class TrialTable:
    """The finished trials of an oracle, written to trials.csv as they finish.

    Args:
        path: path of trials.csv.
        oracle: the oracle, begun.
        keep: number of best trials whose weights stay on disk.
    """

    def __init__(self, path: Path, oracle: Oracle, keep: int) -> None:
        self.path, self.oracle = Path(path), oracle
        space = oracle.space
        self.results = SweepResults(space.parameters, space.fixed, space.metric, space.direction)
        for trial in oracle.finished_trials():
            self.results.add(self._result(trial))
        self._recorder = ResultsRecorder(self.path, self.results, keep, oracle.trial_dir)

    def __len__(self) -> int:
        """Return the number of finished trials."""
        return len(self.results)

    def add(self, trial: Trial) -> TrialResult:
        """Record a trial that has just finished, and return its result."""
        result = self._result(trial)
        self._recorder.add(result)
        return result

    def running(self) -> list[RunningTrial]:
        """Return the trials that workers run now, in the order of the workers' names."""
        return [self._running(worker, trial) for worker, trial in sorted(self.oracle.ongoing_trials.copy().items())]

    def _running(self, worker: str, trial: Trial) -> RunningTrial:
        epoch, accuracy = None, None
        if trial.metrics.exists("val_accuracy"):
            last = trial.metrics.get_history("val_accuracy")[-1]
            epoch, accuracy = last.step, last.value[0]
        return RunningTrial(worker, trial.trial_id, self._values(trial), epoch, accuracy)

    def _result(self, trial: Trial) -> TrialResult:
        result = self.oracle.results[trial.trial_id]
        return make_result(trial.trial_id, self._values(trial), result, self.results.metric)

    def _values(self, trial: Trial) -> dict[str, Value]:
        return self.oracle.space.values(trial.hyperparameters.values)
