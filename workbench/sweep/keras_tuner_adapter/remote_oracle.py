"""The oracle of a sweep's command, as a worker in another process sees it."""

from collections.abc import Callable, Mapping
from typing import Any

import keras_tuner
from keras_tuner.src.engine.trial import Trial as KerasTunerTrial


class RemoteOracle(keras_tuner.Oracle):
    """Asks the command for trials, and gives them back. These are the only calls of an oracle that a worker needs.

    Args:
        objective: what the trials are ranked by.
        ask: sends a call to the command, the name of the oracle's method and its arguments, and returns the answer of
            `SchedulerOracle.answer`.
    """

    def __init__(self, objective: keras_tuner.Objective, ask: Callable[..., Any]) -> None:
        super().__init__(objective)
        self._ask = ask

    def create_trial(self, tuner_id: str) -> KerasTunerTrial:
        """Return the next trial of this worker; its status is IDLE or STOPPED where there is none."""
        return self._ask("create_trial", tuner_id)

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> KerasTunerTrial:
        """Report metrics; the status of the returned trial is STOPPED if it should stop there."""
        return self._ask("update_trial", trial_id, dict(metrics), step)

    def end_trial(self, trial: KerasTunerTrial) -> None:
        """Give a trial back, whose result is in its folder."""
        self._ask("end_trial", trial)
