"""What the hypermodels of all sweeps share: a trial is fitted, logged, scored, and kept so that it can go on."""

import contextlib
import functools
import shutil
from pathlib import Path

import keras_tuner
import numpy as np
import psutil

from workbench.config import check_training, flatten, replace
from workbench.data.dataset import load_dataset
from workbench.files import replace_file
from workbench.sweep.paused_trials import StateStore
from workbench.training.history import find_best_epoch, has_stalled
from workbench.training.loop import fit
from workbench.training.tracking import log_to_tensorboard, log_to_wandb

MAX_MEMORY_GROWTH = 2 << 30  # bytes beyond its start-up after which a worker process is replaced


class TrialHyperModel(keras_tuner.HyperModel):
    """KerasTuner's view of what is swept.

    A subclass says how a trial's model is made: `make(config)` gives a compiled one as freshly built,
    `graph_key(values)` what two points have in common if they share its graph, `plain(config, weights)` the
    Keras model to keep, and `parameters(config)` the number of its parameters. It may have `work(config)`, how much
    a trial has to compute, in any unit.

    Args:
        base: the configuration of a trial, its swept values still to be put in.
        space: the `workbench.sweep.space.Space`.
        folder: the sweep's `workbench.training.run_folder.RunFolder`.
        longest: the largest number of epochs, if trials differ in theirs and can continue one another, else 0.
    """

    work = None

    def __init__(self, base, space, folder, longest):
        super().__init__()
        self._base, self._space, self._folder, self._longest = base, space, folder, longest
        self._states = StateStore(folder.path / "tuner" / "states")
        self._memory = psutil.Process().memory_info().rss
        self.dataset = functools.lru_cache(maxsize=4)(self._load)

    def worn_out(self):
        """Whether the process has grown so much that a fresh one should take its place."""
        return psutil.Process().memory_info().rss - self._memory > MAX_MEMORY_GROWTH

    def config(self, hp):
        """The configuration of the trial that `hp` describes."""
        return self.with_values(self._space.values(hp.values))

    def with_values(self, values):
        """The configuration of the trial with these swept values."""
        return replace(self._base, **values)

    def build(self, hp):
        """A compiled model as freshly built for `hp`."""
        config = self.config(hp)
        check_training(config.training)
        return self.make(config)

    def fit(self, hp, model, trial_id, trial_dir, report=lambda row: False):
        """Train the model `build` made, from a shorter training's state if one is at hand.

        Returns:
            The trial's results, of its best epoch; its weights are in `trial_dir`.
        """
        config = self.config(hp)
        rows, weights = self._resume(model, config)
        resumed = len(rows)
        with self._listening(trial_id, config) as listeners:
            for row in rows:
                for listener in listeners:
                    listener(row)
            listeners = [*listeners, report]
            settings, examples = self.settings(config), self.examples(config)
            result = fit(model, examples, settings, listeners=listeners, history=rows, best_weights=weights)
            rows, weights = result.history, result.best_weights
        save_weights(weights_path(trial_dir), weights)
        self._keep_state(model, config, rows, weights)
        return self._results(config, rows, resumed)

    def examples(self, config):
        """The data set that a trial is fitted on."""
        return self.dataset(config.data.image_size)

    def settings(self, config):
        """What a trial is fitted with."""
        return config.training

    def best_model(self, hp, trial_dir):
        """The plain Keras model of a finished trial, with its best epoch's weights."""
        return self.plain(self.config(hp), load_weights(weights_path(trial_dir)))

    def num_classes(self, config):
        """Number of classes of a trial's data set."""
        return len(self.dataset(config.data.image_size).class_names)

    def _load(self, image_size):
        return load_dataset(replace(self._base.data, image_size=image_size), self._base.training.seed)

    @contextlib.contextmanager
    def _listening(self, trial_id, config):
        logs = self._folder.logs / trial_id
        shutil.rmtree(logs, ignore_errors=True)  # left by an interrupted try
        values, name = flatten(config), self._folder.path.name
        swept = {key: values[key] for key in [*self._space.parameters, "epochs"]}
        wandb_args = (config.run.wandb, values, self._folder.path, name, f"{name}-{trial_id}")
        with log_to_tensorboard(logs, swept) as scalars, log_to_wandb(*wandb_args) as wandb_listener:
            yield [scalars, wandb_listener]

    def _results(self, config, rows, resumed):
        best = find_best_epoch(rows)
        whole = len(rows) == config.training.epochs or has_stalled(rows, config.training.patience)
        return {
            "status": "completed" if whole else "pruned",
            **{name: best[name] for name in ("val_accuracy", "val_loss", "accuracy", "loss")},
            "best_epoch": best["epoch"],
            "epochs": len(rows),
            "max_epochs": config.training.epochs,
            "resumed_after": resumed,
            "training_seconds": sum(row["seconds"] for row in rows[resumed:]),
            "parameters": self.parameters(config),
            "history": rows,
        }

    def _resume(self, model, config):
        """Put the model where a training of the same point with fewer epochs stopped; its rows and weights."""
        found = (
            self._states.load(_state_key(config), config.training.epochs - 1) if self._can_continue(config) else None
        )
        if found is None:
            return [], None
        arrays, rows = found
        model.set_weights(arrays["weights"])
        for variable, value in zip(model.optimizer.variables, arrays["optimizer"], strict=True):
            variable.assign(value)
        return rows, arrays["best"]

    def _keep_state(self, model, config, rows, weights):
        if not self._can_continue(config):
            return
        if config.training.epochs >= self._longest:
            self._states.drop(_state_key(config))
        elif len(rows) == config.training.epochs:
            optimizer = [variable.numpy() for variable in model.optimizer.variables]
            arrays = {"weights": model.get_weights(), "optimizer": optimizer, "best": weights}
            self._states.save(_state_key(config), len(rows), arrays, rows)

    def _can_continue(self, config):
        """Whether the first epochs do not depend on how many are to come, as a falling learning rate's do."""
        return bool(self._longest) and config.training.schedule == "constant"


def _state_key(config):
    """What two trainings have in common if the one with more epochs continues the other."""
    return str(replace(config, epochs=1))


def weights_path(trial_dir):
    """Where a trial's best weights are, in its folder of KerasTuner's project."""
    return Path(trial_dir) / "weights.npz"


def save_weights(path, weights):
    """Write a model's list of weights whole."""
    with replace_file(path) as temporary:
        np.savez(temporary, *weights)


def load_weights(path):
    """The list of weights that `save_weights` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return list(arrays.values())
