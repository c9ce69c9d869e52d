"""Hypermodels of networks that classify images: train, log and score a trial, and keep its state for longer ones."""

import contextlib
import dataclasses
import functools
import shutil
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from workbench.config import TrainingConfig, check_training, flatten, replace
from workbench.data.dataset import Dataset, load_dataset
from workbench.files import replace_file
from workbench.sweep import results
from workbench.sweep.hypermodel import TrialHyperModel, TrialRun
from workbench.sweep.paused_trials import PausedTraining, PausedTrainings
from workbench.sweep.scheduling.trial import Value as EncodedValue
from workbench.sweep.space import Space
from workbench.training.callbacks import Listener
from workbench.training.history import EpochLog, find_best_epoch, has_stalled
from workbench.training.loop import fit
from workbench.training.precision import choose_sweep_precision
from workbench.training.run_folder import RunFolder
from workbench.training.tracking import log_to_tensorboard, log_to_wandb

_LOADED_DATASETS = 4  # of different image sizes that are kept


@dataclasses.dataclass(frozen=True)
class TrialPlan:
    """What the trials of a sweep have in common.

    Attributes:
        base: configuration of a trial, in which the swept values are still missing.
        space: what the sweep varies.
        folder: the sweep's run folder.
        longest: the largest number of epochs, where trials differ in theirs and one can continue another; else 0.
    """

    base: Any
    space: Space
    folder: RunFolder
    longest: int


class ImageHyperModel(TrialHyperModel):
    """Trains a network that classifies images for each trial of a sweep.

    A subclass implements `make_model`, `build_plain_model`, `choose_precision` and `count_parameters`; it may implement
    `make_key`, `measure_work`, and others.
    """

    measures_work = False  # whether `measure_work` is implemented

    def __init__(self, plan: TrialPlan) -> None:
        super().__init__()
        self._plan = plan
        self._base = replace(plan.base, precision=choose_sweep_precision(plan.base.training.precision))
        self._paused = PausedTrainings(plan.folder.path / "tuner" / "states")
        self.load_dataset = functools.lru_cache(maxsize=_LOADED_DATASETS)(self._load_dataset)

    def __reduce__(self) -> tuple:
        """Let another process make its own hypermodel for the same trials."""
        return type(self), (self._plan,)

    # What a subclass implements. `config` is the configuration of a trial, of the class that `TrialPlan.base` has.

    def make_model(self, config: Any) -> keras.Model:
        """Return a compiled model as freshly built."""
        raise NotImplementedError

    def build_plain_model(self, config: Any, weights: list[np.ndarray]) -> keras.Model:
        """Return the network with the given weights as a plain Keras model, which is kept."""
        raise NotImplementedError

    def choose_precision(self, config: Any) -> str:
        """Return the number format in which the network is trained here."""
        raise NotImplementedError

    def count_parameters(self, config: Any) -> int:
        """Return the number of parameters of the network."""
        raise NotImplementedError

    def make_key(self, config: Any) -> Hashable:
        """Return what two configurations have in common if they share a traced graph."""
        return None

    def measure_work(self, config: Any) -> float:
        """Return how much a trial has to compute, in any unit."""
        raise NotImplementedError

    def get_dataset(self, config: Any) -> Dataset:
        """Return the data set on which the model is trained."""
        return self.load_dataset(config.data.image_size)

    def get_training(self, config: Any) -> TrainingConfig:
        """Return the settings with which the model is trained."""
        return config.training

    # What the tuner and the sweep call.

    def make_config(self, values: Mapping[str, results.Value]) -> Any:
        """Return the configuration of the trial with these swept values."""
        return replace(self._base, **values)

    def read_config(self, hp: keras_tuner.HyperParameters) -> Any:
        """Return the configuration of the trial that `hp` describes."""
        return self.make_config(self._plan.space.decode(hp.values))

    def make_graph_key(self, values: Mapping[str, EncodedValue]) -> Hashable:
        """Return what two trials have in common if they share a traced graph."""
        return self.make_key(self.make_config(self._plan.space.decode(values)))

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Return a compiled model as freshly built for the trial that `hp` describes."""
        config = self.read_config(hp)
        check_training(config.training)
        return self.make_model(config)

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *, trial: TrialRun) -> dict[str, Any]:
        """Train a model, from where a shorter training of the same point stopped if there is one.

        Returns:
            The trial's result; its best epoch's weights are in the trial's folder.
        """
        config = self.read_config(hp)
        paused = self._resume(model, config)
        history: list[EpochLog] = paused.history if paused else []
        resumed = len(history)
        with self._log(trial.id, config) as loggers:
            for epoch in history:
                for log in loggers:
                    log(epoch)
            fitted = fit(
                model,
                self.get_dataset(config),
                self.get_training(config),
                history=history,
                best_weights=paused.best_weights if paused else None,
                listeners=[*loggers, trial.report],
            )
        assert fitted.best_weights is not None  # a paused training has them too
        save_weights(get_weights_path(trial.folder), fitted.best_weights)
        self._pause(model, config, fitted.history, fitted.best_weights)
        return self._make_result(config, fitted.history, resumed)

    def build_best_model(self, hp: keras_tuner.HyperParameters, folder: Path) -> keras.Model:
        """Return the plain Keras model of a finished trial, with its best epoch's weights."""
        return self.build_plain_model(self.read_config(hp), load_weights(get_weights_path(folder)))

    def count_classes(self, config: Any) -> int:
        """Return the number of classes of a trial's data set."""
        return len(self.load_dataset(config.data.image_size).class_names)

    # How it is done.

    def _load_dataset(self, image_size: int) -> Dataset:
        return load_dataset(replace(self._base.data, image_size=image_size), self._base.training.seed)

    @contextlib.contextmanager
    def _log(self, trial_id: str, config: Any) -> Iterator[list[Listener]]:
        """Yield listeners that log the epochs of a trial to TensorBoard and Weights & Biases."""
        folder = self._plan.folder
        logs = folder.logs / trial_id
        shutil.rmtree(logs, ignore_errors=True)  # of an interrupted run of this trial
        values, name = flatten(config), folder.path.name
        swept = {key: values[key] for key in [*self._plan.space.parameters, "epochs"]}
        with (
            log_to_tensorboard(logs, swept) as tensorboard,
            log_to_wandb(config.run.wandb, values, folder.path, name, f"{name}-{trial_id}") as wandb,
        ):
            yield [tensorboard, wandb]

    def _make_result(self, config: Any, history: list[EpochLog], resumed: int) -> dict[str, Any]:
        best, training = find_best_epoch(history), config.training
        is_whole = len(history) == training.epochs or has_stalled(history, training.patience)
        return {
            "status": "completed" if is_whole else "pruned",
            **{name: best[name] for name in ("val_accuracy", "val_loss", "accuracy", "loss")},
            "best_epoch": best["epoch"],
            "epochs": len(history),
            "max_epochs": training.epochs,
            "resumed_after": resumed,
            "training_seconds": sum(epoch["seconds"] for epoch in history[resumed:]),
            "parameters": self.count_parameters(config),
            "precision": self.choose_precision(config),
            "history": history,
        }

    def _resume(self, model: keras.Model, config: Any) -> PausedTraining | None:
        """Set a model to the state where a training of the same point with fewer epochs stopped."""
        if not self._can_continue(config):
            return None
        paused = self._paused.load(_make_state_key(config), config.training.epochs - 1)
        if paused:
            model.set_weights(paused.weights)
            for variable, value in zip(model.optimizer.variables, paused.optimizer, strict=True):
                variable.assign(value)
        return paused

    def _pause(self, model: keras.Model, config: Any, history: list[EpochLog], best_weights: list[np.ndarray]) -> None:
        """Keep the state of a model for longer trainings of the same point."""
        if not self._can_continue(config):
            return
        if config.training.epochs >= self._plan.longest:
            self._paused.drop(_make_state_key(config))
        elif len(history) == config.training.epochs:
            optimizer = [variable.numpy() for variable in model.optimizer.variables]
            paused = PausedTraining(model.get_weights(), optimizer, best_weights, history)
            self._paused.save(_make_state_key(config), paused)

    def _can_continue(self, config: Any) -> bool:
        """Return whether the first epochs do not depend on how many follow, as a falling learning rate does."""
        return bool(self._plan.longest) and config.training.schedule == "constant"


def _make_state_key(config: Any) -> str:
    """Return what two trainings have in common if the one with more epochs continues the other."""
    return str(replace(config, epochs=1))


def get_weights_path(folder: Path) -> Path:
    """Return where a trial's best weights are, in its folder."""
    return folder / "weights.npz"


def save_weights(path: Path, weights: list[np.ndarray]) -> None:
    """Write a model's list of weights, as a whole or not at all."""
    with replace_file(path) as temporary:
        np.savez(temporary, *weights)


def load_weights(path: Path) -> list[np.ndarray]:
    """Read the list of weights that `save_weights` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return list(arrays.values())
