"""KerasTuner's adaptive searches as sources of trials. Their state is saved before a trial is handed out."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.src.engine.trial import Trial as KerasTunerTrial
from keras_tuner.src.engine.trial import TrialStatus
from keras_tuner.src.tuners import bayesian

from workbench.files import read_json, write_json
from workbench.sweep.keras_tuner_adapter.conversion import Converter
from workbench.sweep.scheduling.trial import Trial


def make_bayesian_search(
    objective: keras_tuner.Objective, max_trials: int, hyperparameters: keras_tuner.HyperParameters, seed: int
) -> keras_tuner.Oracle:
    """Return KerasTuner's Bayesian optimization, with SciPy and scikit-learn, without which KerasTuner was imported."""
    import scipy.optimize  # imported late, as those below: they take a second, and no other search needs them
    import sklearn.exceptions
    import sklearn.gaussian_process

    bayesian.scipy, bayesian.sklearn = scipy, sklearn
    return keras_tuner.oracles.BayesianOptimizationOracle(
        objective=objective, max_trials=max_trials, hyperparameters=hyperparameters, seed=seed
    )


class HyperbandSearch(keras_tuner.oracles.HyperbandOracle):
    """KerasTuner's Hyperband, which also promotes trials where the space has too few points to fill a bracket.

    KerasTuner's own ends there, and its trials have only the epochs of the first round.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return the values of the next trial, and whether there is one, as KerasTuner's oracles do."""
        chosen = super().populate_space(trial_id)
        last = self._brackets[-1] if self._brackets else None
        if chosen["status"] == TrialStatus.RUNNING or last is None:
            return chosen
        num_points = len(last["rounds"][0])
        if num_points == self._get_size(last["bracket_num"], 0):
            return chosen
        last["num_points"] = num_points  # there is no new point
        return super().populate_space(trial_id)

    def _get_size(self, bracket_num: int, round_num: int) -> int:
        size = super()._get_size(bracket_num, round_num)
        for bracket in self._brackets:
            if bracket["bracket_num"] == bracket_num and "num_points" in bracket:
                return min(size, math.ceil(bracket["num_points"] / self.factor**round_num))
        return size


class AdaptiveSource:
    """Lets an oracle of KerasTuner choose the trials, and keeps its state in `oracle.json`.

    Args:
        search: the oracle; only the choice of values is left to it.
        converter: translates the trials.
        max_trials: number of trials at most.
        path: of `oracle.json`.
        may_repeat: whether a trial may have the values of an earlier one.
    """

    def __init__(
        self, search: keras_tuner.Oracle, converter: Converter, max_trials: int, path: Path, *, may_repeat: bool
    ) -> None:
        self._search, self._converter, self._max_trials, self._path = search, converter, max_trials, path
        self._may_repeat = may_repeat
        self._pending: Trial | None = None  # chosen, but not handed out
        self._is_exhausted = False  # then it is not asked again: it draws at random, and might find a new point

    def count_trials(self) -> int:
        """Return the number of trials at most."""
        return self._max_trials

    def upcoming(self) -> Sequence[Trial]:
        """Return the next trial, if one can be chosen now."""
        if self._pending is None and not self._is_exhausted:
            self._pending = self._choose()
        return () if self._pending is None else (self._pending,)

    def take(self, trial: Trial) -> None:
        """Hand out the trial that was chosen."""
        self._pending = None

    def finish(self, trial: Trial) -> None:
        """Learn from a finished trial."""
        self._set_score(self._search.trials[trial.id], trial)
        self._search.end_order.append(trial.id)
        self._search.ongoing_trials.pop(trial.id, None)
        write_json(self._path, self.get_state())

    def restore(self, trials: Iterable[Trial]) -> Sequence[Trial]:
        """Load the state of the search, and return the trials that were running when it was saved."""
        state, search = read_json(self._path), self._search
        for trial in trials:
            search.trials[trial.id] = self._converter.make_trial(trial)
        search.start_order, search.end_order = list(search.trials), list(search.trials)
        if state is None:
            return ()
        unfinished = [s for s in state.get("unfinished", []) if s["trial_id"] not in search.trials]
        running = {s["trial_id"]: KerasTunerTrial.from_state(s) for s in unfinished}
        finished = list(search.trials)
        own = {name: getattr(search, name) for name in ("hyperband_iterations",) if hasattr(search, name)}
        search.set_state({**state, **own, "ongoing_trials": {}})  # as many iterations as this call asks for
        search.trials = {**running, **search.trials}
        search.ongoing_trials, search.end_order = dict(running), finished
        return [self._make_trial(trial) for trial in running.values()]

    def get_state(self) -> dict[str, Any]:
        """Return the search's state and the values of the running trials, which have no file of their own yet."""
        running = [trial.get_state() for trial in self._search.ongoing_trials.values()]
        return {**self._search.get_state(), "ongoing_trials": {}, "unfinished": running}

    def _choose(self) -> Trial | None:
        search = self._search
        if len(search.trials) >= self._max_trials:
            return None
        trial_id = f"{len(search.trials):04d}"
        chosen = search.populate_space(trial_id)
        if chosen["status"] != TrialStatus.RUNNING:
            self._is_exhausted = not search.ongoing_trials  # the results of these may lead to further ones
            return None
        values = chosen["values"]
        if not self._may_repeat and search._duplicate(values):
            values = search._random_values() or values
        hyperparameters = search.hyperparameters.copy()
        hyperparameters.values = values
        trial = KerasTunerTrial(hyperparameters, trial_id=trial_id)
        search._record_values(trial)
        search.trials[trial_id] = search.ongoing_trials[trial_id] = trial
        search.start_order.append(trial_id)
        write_json(self._path, self.get_state())
        return self._make_trial(trial)

    def _make_trial(self, trial: KerasTunerTrial) -> Trial:
        return Trial(trial.trial_id, dict(trial.hyperparameters.values), parameters=self._converter.parameters)

    def _set_score(self, trial: KerasTunerTrial, finished: Trial) -> None:
        trial.score = finished.score
        trial.status = TrialStatus.FAILED if finished.status == "failed" else TrialStatus.COMPLETED


def count_hyperband_trials(search: HyperbandSearch) -> int:
    """Return the number of trials of one iteration of Hyperband."""
    brackets = range(search._get_num_brackets())
    return sum(search._get_size(b, r) for b in brackets for r in range(search._get_num_rounds(b)))
