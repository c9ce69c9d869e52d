"""Hypermodels that are given their whole search space, and that record, log and keep their trials themselves."""

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from workbench.sweep.scheduling.trial import Value


@dataclasses.dataclass(frozen=True)
class TrialRun:
    """What a hypermodel's `fit` gets to know about the trial that it runs.

    Attributes:
        id: of the trial.
        folder: for the trial's files.
        report: called with each epoch's values, among them the sweep's metric; returns whether the trial should stop.
    """

    id: str
    folder: Path
    report: Callable[[Mapping[str, float]], bool]


class TrialHyperModel(keras_tuner.HyperModel):
    """A `keras_tuner.HyperModel` whose search space is given to the tuner as `hyperparameters`.

    It differs from other hypermodels in three ways: it is not built to find its hyperparameters; its models are not
    cleared between two trials, so it may keep traced graphs; and `fit` gets the trial, of which it keeps what it needs.
    It must be picklable, because each worker process gets a copy.
    """

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Return the compiled model of the trial that `hp` describes, reset to its initial weights."""
        raise NotImplementedError

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *, trial: TrialRun) -> dict[str, Any]:
        """Train the model that `build` returned.

        Returns:
            The trial's result, JSON values: the sweep's metric, `status` (`completed` or `pruned`), `history` (the
            epochs), and whatever else is to be recorded.
        """
        raise NotImplementedError

    def build_best_model(self, hp: keras_tuner.HyperParameters, folder: Path) -> keras.Model:
        """Return the model of a finished trial with its best weights, which `fit` has left in the trial's folder."""
        raise NotImplementedError

    def list_folders(self) -> dict[str, Path]:
        """Return the folders in which `fit` leaves files besides the trial's: name -> folder."""
        return {}

    def move_folders(self, folders: Mapping[str, Path], load_dataset: Callable[[int], Any]) -> None:
        """Use other folders: this is another machine than that of the sweep's command.

        Args:
            folders: with the names of `list_folders`.
            load_dataset: returns the command's data set with images of a size.
        """

    def make_graph_key(self, values: Mapping[str, Value]) -> Hashable:
        """Return a key; trials with equal keys share a traced graph. `values` are as KerasTuner has them."""
        return None
