"""KerasTuner's adaptive searches, resumable: their state is saved whole before a trial is handed out."""

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from workbench.files import read_json
from workbench.sweep.oracle import FINISHED, TrialKeeper


class AdaptiveKeeper(TrialKeeper):
    """Lets an oracle of KerasTuner choose the points, and keeps its state in `oracle.json`."""

    def __len__(self):
        """Number of trials at most."""
        return self.max_trials

    def _next_trial(self, tuner_id):
        if len(self.trials) >= self.max_trials:
            return None
        trial_id = f"{len(self.trials):04d}"
        chosen = self.populate_space(trial_id)
        if chosen["status"] != TrialStatus.RUNNING:
            return None
        if self._is_repeated(chosen["values"]):
            chosen["values"] = self._random_values() or chosen["values"]
        hyperparameters = self.hyperparameters.copy()
        hyperparameters.values = chosen["values"]
        trial = Trial(hyperparameters, trial_id=trial_id)
        self._record_values(trial)
        self.trials[trial_id] = self.ongoing_trials[tuner_id] = trial
        self.start_order.append(trial_id)
        self.save()
        return trial

    def _is_repeated(self, values):
        return self._duplicate(values)

    def _finish(self, trial, result):
        super()._finish(trial, result)
        self.save()

    def get_state(self):
        """KerasTuner's state and the values of the trials in hand, which have no file of their own yet."""
        ongoing = [trial.get_state() for trial in self.trials.values() if trial.status not in FINISHED]
        return {**super().get_state(), "unfinished": ongoing}

    def reload(self):
        """Take up the finished trials, the search's own state, and the trials that were in hand."""
        state = read_json(self._get_oracle_fname())
        super().reload()
        if state is None:
            return
        finished = dict(self.trials)
        self.trials = {**{s["trial_id"]: Trial.from_state(s) for s in state["unfinished"]}, **finished}
        self.set_state({**state, "ongoing_trials": {}})
        self.end_order = list(finished)
        self._ready = [trial for trial_id, trial in self.trials.items() if trial_id not in finished]

    def complete(self):
        """Whether nothing is left to hand out and nothing is in hand."""
        with self.lock:
            if self.ongoing_trials or self._ready:
                return False
            trial = self.create_trial("is-anything-left")
            if trial.status == TrialStatus.RUNNING:  # there is: let a worker have it
                self._ready.append(self.ongoing_trials.pop("is-anything-left"))
            return trial.status == TrialStatus.STOPPED


class BayesianOracle(AdaptiveKeeper, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimization with a Gaussian process, by KerasTuner."""

    def __init__(self, space, max_trials, seed=0):
        self.space = space
        super().__init__(
            objective=keras_tuner.Objective(space.metric, space.direction),
            max_trials=min(max_trials or len(space), len(space)),
            hyperparameters=space.hyperparameters.copy(),
            seed=seed or 1,
        )


class HyperbandOracle(AdaptiveKeeper, keras_tuner.oracles.HyperbandOracle):
    """Hyperband by KerasTuner: the epochs are its own choice, up to the largest number in the space."""

    def __init__(self, space, max_trials, max_epochs, seed=0):
        self.space = space
        hyperparameters = keras_tuner.HyperParameters()
        hyperparameters.merge([hp for hp in space.hyperparameters.space if hp.name != "epochs"])
        super().__init__(
            objective=keras_tuner.Objective(space.metric, space.direction),
            max_epochs=max_epochs,
            factor=3,
            hyperparameters=hyperparameters,
            seed=seed or 1,
        )
        of_one = self._trials_of_one_iteration()
        self.max_trials = max_trials or of_one
        self._iterations = self.hyperband_iterations = -(-self.max_trials // of_one)

    def set_state(self, state):
        """Take up a saved state, but as many iterations as this call asks for."""
        super().set_state({**state, "hyperband_iterations": self._iterations})

    def _is_repeated(self, values):
        return False  # a promoted trial repeats its values on purpose

    def _trials_of_one_iteration(self):
        brackets = range(self._get_num_brackets())
        return sum(self._get_size(b, r) for b in brackets for r in range(self._get_num_rounds(b)))
