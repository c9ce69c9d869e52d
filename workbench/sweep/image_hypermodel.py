"""Hypermodels of networks that classify images: train, log and score a trial, and keep its state for longer ones."""

import contextlib
import dataclasses
import functools
import shutil
import zipfile
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from workbench.config import RunConfig, TrainingConfig, check_training, flatten, replace
from workbench.data.dataset import Dataset, load_dataset
from workbench.data.splits.kept_split import open_kept_split
from workbench.errors import UserError
from workbench.files import replace_file
from workbench.sweep import results
from workbench.sweep.hypermodel import TrialHyperModel, TrialRun
from workbench.sweep.outcomes.outcome import CHECKSUM, OutcomeKind, make_outcome, save_outcome
from workbench.sweep.saved_states import STATES, SavedState, SavedStates
from workbench.sweep.scheduling.trial import Value as EncodedValue
from workbench.sweep.space import Space
from workbench.training.augmentation_options import switch_augmentation_on
from workbench.training.callbacks import KeepBestLogits, Listener
from workbench.training.history import EpochLog, find_best_epoch, has_stalled
from workbench.training.loop import fit
from workbench.training.precision import choose_sweep_precision
from workbench.training.run_folder import RunFolder
from workbench.training.tracking import log_to_tensorboard, log_to_wandb
from workbench.training.training_model import TrainingModel

_LOADED_DATASETS = 4  # of different image sizes that are kept


@dataclasses.dataclass(frozen=True)
class TrialDefaults:
    """What the trials of a sweep have in common.

    Attributes:
        base: configuration of a trial, in which the swept values are still missing.
        space: what the sweep varies.
        folder: the sweep's run folder.
        max_epochs: largest number of epochs if trials may continue shorter ones; 0 means none continues.
        outcomes: what is kept of the predictions for the validation images.
    """

    base: Any
    space: Space
    folder: RunFolder
    max_epochs: int
    outcomes: OutcomeKind = "none"


class ImageHyperModel(TrialHyperModel):
    """Trains a network that classifies images for each trial of a sweep.

    A subclass implements `make_model`, `build_plain_model`, `choose_precision` and `count_parameters`; it may implement
    `make_key`, `estimate_work`, and others.
    """

    can_estimate_work = False  # whether `estimate_work` is implemented

    def __init__(self, defaults: TrialDefaults) -> None:
        super().__init__()
        self._defaults = defaults
        self._base = replace(defaults.base, precision=choose_sweep_precision(defaults.base.training.precision))
        self._saved_states = SavedStates(defaults.folder.path / "tuner" / STATES)
        self.load_dataset = functools.lru_cache(maxsize=_LOADED_DATASETS)(self._load_dataset)

    def __reduce__(self) -> tuple:
        """Let another process make its own hypermodel for the same trials."""
        return type(self), (self._defaults,)

    # What a subclass implements. `config` is the configuration of a trial, of the class that `TrialDefaults.base` has.

    def make_model(self, config: Any) -> keras.Model:
        """Return a compiled model, reset to its initial weights; it may come from a cache."""
        raise NotImplementedError

    def build_plain_model(self, config: Any, weights: list[np.ndarray]) -> keras.Model:
        """Return the network with the given weights as a plain Keras model, which is kept."""
        raise NotImplementedError

    def choose_precision(self, config: Any) -> str:
        """Return the number format in which the network is trained on this machine."""
        raise NotImplementedError

    def count_parameters(self, config: Any) -> int:
        """Return the number of parameters of the network."""
        raise NotImplementedError

    def make_key(self, config: Any) -> Hashable:
        """Return a key; configurations with equal keys share a traced graph."""
        return None

    def estimate_work(self, config: Any) -> float:
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
        return switch_augmentation_on(replace(self._base, **values))

    def read_config(self, hp: keras_tuner.HyperParameters) -> Any:
        """Return the configuration of the trial that `hp` describes."""
        return self.make_config(self._defaults.space.decode(hp.values))

    def make_graph_key(self, values: Mapping[str, EncodedValue]) -> Hashable:
        """Return a key; trials with equal keys share a traced graph."""
        return self.make_key(self.make_config(self._defaults.space.decode(values)))

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Return the compiled model of the trial that `hp` describes, reset to its initial weights."""
        config = self.read_config(hp)
        check_training(config.training)
        return self.make_model(config)

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *, trial: TrialRun) -> dict[str, Any]:
        """Train a model, from where a shorter training of the same point stopped if there is one.

        Returns:
            The trial's result; its best epoch's weights are in the trial's folder.
        """
        config = self.read_config(hp)
        saved = self._resume(model, config)
        history: list[EpochLog] = saved.history if saved else []
        resumed = len(history)
        with self._log(trial.id, config) as loggers:
            for epoch in history:
                for log in loggers:
                    log(epoch)
            keep_logits = self._keep_logits(model, history, saved)
            dataset = self.get_dataset(config)
            fitted = fit(
                model,
                dataset,
                self.get_training(config),
                history=history,
                best_weights=saved.best_weights if saved else None,
                listeners=[*loggers, trial.report],
                callbacks=[keep_logits] if keep_logits else [],
            )
        assert fitted.best_weights is not None  # a saved state has them too
        save_weights(get_weights_path(trial.folder), fitted.best_weights)
        logits = keep_logits.logits if keep_logits else None
        self._pause(model, config, fitted.history, fitted.best_weights, logits)
        result = self._make_result(config, fitted.history, resumed)
        if logits is not None:
            labels = dataset.labels[dataset.validation]
            outcome = make_outcome(logits, labels, self._defaults.outcomes)
            result[CHECKSUM] = save_outcome(trial.folder, outcome)
        return result

    def list_folders(self) -> dict[str, Path]:
        """Return the sweep's run folder and that of its logs."""
        return {"run": self._defaults.folder.path, "logs": self._defaults.folder.logs}

    def move_folders(self, folders: Mapping[str, Path], load_dataset: Callable[[int], Dataset]) -> None:
        """Use other folders and the command's data set, see `TrialHyperModel`."""
        run, logs = folders["run"], folders["logs"]
        moved = RunFolder(RunConfig(name=run.name, runs_dir=str(run.parent), logs_dir=str(logs.parent)))
        self._defaults = dataclasses.replace(self._defaults, folder=moved)
        self._saved_states = SavedStates(run / "tuner" / STATES)
        self.load_dataset = functools.lru_cache(maxsize=_LOADED_DATASETS)(load_dataset)

    def build_best_model(self, hp: keras_tuner.HyperParameters, folder: Path) -> keras.Model:
        """Return the plain Keras model of a finished trial, with its best epoch's weights."""
        return self.build_plain_model(self.read_config(hp), load_weights(get_weights_path(folder)))

    def load_trial(self, values: Mapping[str, results.Value], precision: str, folder: Path) -> keras.Model:
        """Return the plain Keras model of a finished trial, with its best epoch's weights.

        Args:
            values: its swept values.
            precision: number format in which it was trained.
            folder: of the trial.
        """
        config = replace(self.make_config(values), precision=precision)
        return self.build_plain_model(config, load_weights(get_weights_path(folder)))

    def count_classes(self, config: Any) -> int:
        """Return the number of classes of a trial's data set."""
        return len(self.load_dataset(config.data.image_size).class_names)

    # How it is done.

    def _load_dataset(self, image_size: int) -> Dataset:
        kept = open_kept_split(self._defaults.folder.path, "resume")
        return load_dataset(replace(self._base.data, image_size=image_size), self._base.training.seed, kept=kept)

    @contextlib.contextmanager
    def _log(self, trial_id: str, config: Any) -> Iterator[list[Listener]]:
        """Yield listeners that log the epochs of a trial to TensorBoard and Weights & Biases."""
        folder = self._defaults.folder
        logs = folder.logs / trial_id
        shutil.rmtree(logs, ignore_errors=True)  # of an interrupted run of this trial
        values, name = flatten(config), folder.path.name
        swept = {key: values[key] for key in [*self._defaults.space.parameters, "epochs"]}
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

    def _resume(self, model: keras.Model, config: Any) -> SavedState | None:
        """Set a model to the state where a training of the same point with fewer epochs stopped."""
        if not self._can_continue(config):
            return None
        saved = self._saved_states.load(_make_state_key(config), config.training.epochs - 1)
        if saved:
            model.set_weights(saved.weights)
            for variable, value in zip(model.optimizer.variables, saved.optimizer, strict=True):
                variable.assign(value)
        return saved

    def _keep_logits(
        self, model: keras.Model, history: list[EpochLog], saved: SavedState | None
    ) -> KeepBestLogits | None:
        """Return the callback that keeps the predictions for the validation images, if they are to be kept."""
        if self._defaults.outcomes == "none" or not isinstance(model, TrainingModel):
            return None
        return KeepBestLogits(model, history, saved.best_logits if saved else None)

    def _pause(
        self,
        model: keras.Model,
        config: Any,
        history: list[EpochLog],
        best_weights: list[np.ndarray],
        best_logits: np.ndarray | None,
    ) -> None:
        """Keep the state of a model for longer trainings of the same point."""
        if not self._can_continue(config):
            return
        if config.training.epochs >= self._defaults.max_epochs:
            self._saved_states.drop(_make_state_key(config))
        elif len(history) == config.training.epochs:
            optimizer = [variable.numpy() for variable in model.optimizer.variables]
            saved = SavedState(model.get_weights(), optimizer, best_weights, history, best_logits)
            self._saved_states.save(_make_state_key(config), saved)

    def _can_continue(self, config: Any) -> bool:
        """Return whether a shorter training equals the start of a longer one; not so if the learning rate decays."""
        return bool(self._defaults.max_epochs) and config.training.schedule == "constant"


def _make_state_key(config: Any) -> str:
    """Return a key; of two trainings with equal keys, the one with more epochs continues the other."""
    return str(replace(config, epochs=1))


def get_weights_path(folder: Path) -> Path:
    """Return where a trial's best weights are, in its folder."""
    return folder / results.WEIGHTS


def save_weights(path: Path, weights: list[np.ndarray]) -> None:
    """Write a model's list of weights, as a whole or not at all."""
    with replace_file(path) as temporary:
        np.savez(temporary, *weights)


def load_weights(path: Path) -> list[np.ndarray]:
    """Read the list of weights that `save_weights` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return list(arrays.values())
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        problem = "damaged" if path.exists() else "missing"
        raise UserError(
            f"{path}: {problem}; restore it, or remove {path.parent} so that the trial is run again"
        ) from None
