"""Hyperparameters and trials of the scheduler as KerasTuner's, and back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras_tuner
from keras_tuner.src.engine.hyperparameters.hyperparameter import HyperParameter
from keras_tuner.src.engine.metrics_tracking import MetricsTracker
from keras_tuner.src.engine.objective import MultiObjective, Objective
from keras_tuner.src.engine.trial import Trial as KerasTunerTrial
from keras_tuner.src.engine.trial import TrialStatus

from workbench.sweep.scheduling.trial import Parameter, Trial, Value
from workbench.sweep.scheduling.trial_files import State, decode_trial, encode_trial

FINISHED = {TrialStatus.COMPLETED, TrialStatus.FAILED, TrialStatus.INVALID}


def make_parameter(hyperparameter: HyperParameter, values: Sequence[Value] | None = None) -> Parameter:
    """Return a hyperparameter of KerasTuner as one of the grid.

    Args:
        hyperparameter: a `Choice`, `Int`, `Float`, `Boolean` or `Fixed`.
        values: its values on the grid; by default the hyperparameter's own. KerasTuner takes ten of a range without a
            step.
    """
    if values is None:
        own, default = list(hyperparameter.values), hyperparameter.default
        if hasattr(hyperparameter, "min_value"):
            own.sort()
        values = [default, *(value for value in own if value != default)]
    conditions = ((condition.name, tuple(condition.values)) for condition in hyperparameter.conditions)
    return Parameter(hyperparameter.name, tuple(values), tuple(conditions))


class Converter:
    """Translates the trials of one sweep.

    Args:
        hyperparameters: the search space as it is known at the start.
        objective: what the trials are ranked by.
        grid: hyperparameter -> its values on the grid, where they are not KerasTuner's.
    """

    def __init__(
        self,
        hyperparameters: keras_tuner.HyperParameters,
        objective: Objective,
        grid: Mapping[str, Sequence[Value]] | None = None,
    ) -> None:
        self._objective, self._grid = objective, dict(grid or {})
        self._originals: dict[Parameter, HyperParameter] = {}
        self._configs: dict[Parameter, State] = {}
        self.parameters = self.add(hyperparameters.space)
        self._keys = {_key(config) for config in self._configs.values()}

    def add(self, hyperparameters: Iterable[HyperParameter]) -> tuple[Parameter, ...]:
        """Return hyperparameters of KerasTuner as parameters, which can be translated back from now on."""
        parameters = []
        for hyperparameter in hyperparameters:
            parameter = make_parameter(hyperparameter, self._grid.get(hyperparameter.name))
            if parameter not in self._originals:
                config = {"class_name": type(hyperparameter).__name__, "config": hyperparameter.get_config()}
                self._originals[parameter], self._configs[parameter] = hyperparameter, config
            parameters.append(parameter)
        return tuple(parameters)

    def make_hyperparameters(self, trial: Trial) -> keras_tuner.HyperParameters:
        """Return the hyperparameters of a trial, with its values."""
        hyperparameters = keras_tuner.HyperParameters()
        for parameter in (*trial.parameters, *trial.discovered):
            original = self._originals[parameter]
            hyperparameters._hps[original.name].append(original)
            hyperparameters._space.append(original)
        hyperparameters.values = dict(trial.values)
        return hyperparameters

    def make_trial(self, trial: Trial) -> KerasTunerTrial:
        """Return a trial as one of KerasTuner."""
        made = KerasTunerTrial(self.make_hyperparameters(trial), trial.id, message=trial.reason or None)
        if trial.is_finished:
            made.status = TrialStatus.FAILED if trial.status == "failed" else TrialStatus.COMPLETED
        made.score, made.best_step = trial.score, trial.result.get("best_step", 0)
        made.metrics = MetricsTracker.from_config(self._encode_metrics(trial))
        return made

    def encode(self, trial: Trial) -> State:
        """Return the content of `trial.json` as KerasTuner writes it."""
        state = encode_trial(trial)
        state["hyperparameters"]["space"] = [self._configs[p] for p in (*trial.parameters, *trial.discovered)]
        return {**state, "metrics": self._encode_metrics(trial)}

    def decode(self, state: State, result: dict[str, Any]) -> Trial:
        """Return a finished trial from its files. It has discovered the hyperparameters that were not known before."""
        trial = decode_trial(state, result)
        trial.parameters = self.parameters
        new = [config for config in state["hyperparameters"]["space"] if _key(config) not in self._keys]
        if new:
            trial.discovered = self.add(keras_tuner.HyperParameters.from_config({"space": new, "values": {}}).space)
        return trial

    def _encode_metrics(self, trial: Trial) -> State:
        metrics = {}
        for name, reports in trial.reports.items():
            observations = [{"value": [value], "step": step} for step, value in sorted(reports.items())]
            metrics[name] = {"direction": self._find_direction(name), "observations": observations}
        return {"metrics": metrics}

    def _find_direction(self, name: str) -> str:
        objectives = self._objective.objectives if isinstance(self._objective, MultiObjective) else [self._objective]
        known = next((objective.direction for objective in objectives if objective.name == name), None)
        return known or ("max" if "accuracy" in name else "min")


def _key(config: State) -> str:
    """Return what identifies a hyperparameter: its name and its conditions."""
    return f"{config['config']['name']} {config['config'].get('conditions')}"
