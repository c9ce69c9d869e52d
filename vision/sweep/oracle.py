"""Grid search that can be interrupted: every point exactly once, in any order, its state on disk."""

import math
import shutil
import time
from pathlib import Path

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus

from vision.files import read_json, write_json
from vision.sweep.space import encode

FINISHED = {TrialStatus.COMPLETED, TrialStatus.FAILED}
_STATE_INTERVAL = 30  # seconds between two writings of oracle.json


class GridOracle(keras_tuner.Oracle):
    """Hands out the points of a grid, each exactly once, and remembers what was finished.

    A trial's number is its place in the order, so the number alone says which point it is. Its `trial.json`,
    written whole when it ends, is the only state: whatever has none is done, again or for the first time.
    (KerasTuner's own grid search keeps its place in memory, and rewrites `oracle.json` three times a trial.)

    Args:
        space: a `vision.sweep.space.Space`.
        max_trials: number of trials at most, None for the whole grid.
        seed: of the shuffled order.
        order: `shuffled`, so that any prefix is a fair sample, or `lexicographic`, the last parameter
            turning fastest.
    """

    def __init__(self, space, max_trials=None, seed=0, order="shuffled"):
        super().__init__(
            objective=keras_tuner.Objective(space.metric, space.direction),
            hyperparameters=space.hyperparameters.copy(),
            allow_new_entries=False,
            tune_new_entries=False,
            seed=seed,
        )
        self.space = space
        self._order = np.arange(len(space))
        if order == "shuffled":
            np.random.default_rng(seed).shuffle(self._order)
        self._limit = len(space) if max_trials is None else min(max_trials, len(space))
        self._next = 0
        self._state_written = time.monotonic()
        self.verbose = 0

    def __len__(self):
        """Number of trials that this sweep will hold when it is complete."""
        return self._limit

    def trial_id(self, number):
        """The name of the trial at place `number` of the order."""
        return f"{number:0{len(str(len(self._order)))}d}"

    def point(self, number):
        """The parameter values at place `number` of the order: name -> value."""
        index, point = int(self._order[number]), {}
        for name, values in reversed(self.space.parameters.items()):
            index, digit = divmod(index, len(values))
            point[name] = values[digit]
        return {name: point[name] for name in self.space.parameters}

    @keras_tuner.synchronized
    def create_trial(self, tuner_id):
        """The trial that `tuner_id` has in hand, or the next point that nobody has had."""
        if tuner_id in self.ongoing_trials:
            return self.ongoing_trials[tuner_id]
        self.tuner_ids.add(tuner_id)
        while self._next < self._limit and self.trial_id(self._next) in self.trials:
            self._next += 1
        if self._next >= self._limit:
            self.tuner_ids.discard(tuner_id)
            return Trial(self.hyperparameters.copy(), trial_id="", status=TrialStatus.STOPPED)
        trial = self._trial(self._next)
        self.trials[trial.trial_id] = self.ongoing_trials[tuner_id] = trial
        self.start_order.append(trial.trial_id)
        return trial

    def _trial(self, number):
        hyperparameters = self.hyperparameters.copy()
        hyperparameters.values = {name: encode(value) for name, value in self.point(number).items()}
        return Trial(hyperparameters, trial_id=self.trial_id(number))

    @keras_tuner.synchronized
    def end_trial(self, trial):
        """Record a trial as completed or failed; a failure never ends the sweep and is not tried again."""
        ended = self.trials[trial.trial_id]
        ended.status, ended.message = trial.status, trial.message
        if ended.status == TrialStatus.COMPLETED:
            self.score_trial(ended)
            if not math.isfinite(ended.score):
                ended.status, ended.message = TrialStatus.FAILED, f"{self.objective.name} is {ended.score}"
        else:
            ended.status = TrialStatus.FAILED
        self.end_order.append(ended.trial_id)
        self._save_trial(ended)
        self.ongoing_trials = {k: t for k, t in self.ongoing_trials.items() if t.trial_id != ended.trial_id}
        if time.monotonic() - self._state_written > _STATE_INTERVAL:
            self.save()

    def finished_trials(self):
        """The completed and failed trials, in the order of their numbers."""
        return [trial for _, trial in sorted(self.trials.items()) if trial.status in FINISHED]

    def _save_trial(self, trial):
        if trial.status in FINISHED:  # a running trial has nothing on disk that would have to be undone
            write_json(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", trial.get_state())

    def save(self):
        """Write `oracle.json`, for KerasTuner's own tools; this oracle does not read it."""
        write_json(self._get_oracle_fname(), self.get_state())
        self._state_written = time.monotonic()

    def reload(self):
        """Take up the finished trials from disk; what an interrupted trial left behind is removed."""
        for folder in sorted(Path(self._project_dir).glob("trial_*")):
            state = read_json(folder / "trial.json")
            if state is None:
                shutil.rmtree(folder)
                continue
            trial = Trial.from_state(state)
            self.trials[trial.trial_id] = trial
            self.end_order.append(trial.trial_id)
