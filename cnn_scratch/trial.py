"""One trial: fit a compiled network and score it; KerasTuner's hypermodel of it."""

import contextlib
import dataclasses
import functools
import shutil
from pathlib import Path

import keras_tuner
import numpy as np
import psutil

from cnn_scratch.graphs import GraphCache, plain_model
from cnn_scratch.model import network_cost
from vision.data.dataset import balanced_weights, load_dataset
from vision.data.pipeline import evaluation_batches, steps_per_epoch, training_batches
from vision.files import replacing
from vision.settings import check_training
from vision.sweep.states import StateStore
from vision.tracking import tensorboard, wandb_run
from vision.training import EpochRecord, EpochSeeds, KeepBest, StopOnNaN, best_row

MAX_MEMORY_GROWTH = 2 << 30  # bytes beyond its start-up after which a worker process is replaced


def fit(model, config, dataset, *, listeners=(), rows=(), weights=None, callbacks=lambda record: ()):
    """Train a compiled model, from where `rows` ends.

    Args:
        model: compiled, mapping uint8 images to logits.
        config: has the fields of `TrainingConfig`, and `seed`.
        dataset: a `vision.data.dataset.Dataset`.
        listeners: called with each finished epoch's row; one that returns True ends the training there.
        rows: rows of the epochs already done.
        weights: of the best epoch among them.
        callbacks: takes the `EpochRecord`, returns further Keras callbacks.

    Returns:
        (rows of all epochs, weights of the best one).

    Raises:
        Diverged: the loss became NaN or infinite.
    """
    record = EpochRecord(len(dataset.train), listeners, rows)
    keep_best = KeepBest(record, weights)
    model.fit(
        training_batches(
            dataset,
            config.batch_size,
            data_aug=config.data_aug,
            seed=config.seed,
            first_epoch=len(rows),
            class_weights=balanced_weights(dataset) if config.class_weights == "balanced" else None,
        ),
        validation_data=evaluation_batches(dataset, dataset.validation, config.batch_size),
        steps_per_epoch=steps_per_epoch(dataset, config.batch_size),
        initial_epoch=len(rows),
        epochs=config.epochs,
        shuffle=False,  # the pipeline has shuffled
        verbose=0,
        callbacks=[EpochSeeds(config.seed), StopOnNaN(config.learning_rate), record, keep_best, *callbacks(record)],
    )
    return record.rows, keep_best.weights


class CnnHyperModel(keras_tuner.HyperModel):
    """KerasTuner's view of the network: builds it for a point of the space, and fits it.

    Args:
        base: the configuration of a trial, its swept values still to be put in.
        space: the `vision.sweep.space.Space`.
        folder: the sweep's `vision.runs.RunFolder`.
        longest: the largest number of epochs, if trials differ in theirs and can continue one another, else 0.
    """

    def __init__(self, base, space, folder, longest):
        super().__init__()
        self._base, self._space, self._folder, self._longest = base, space, folder, longest
        self._states = StateStore(folder.path / "tuner" / "states")
        self._graphs = GraphCache()
        self._memory = psutil.Process().memory_info().rss
        self._dataset = functools.lru_cache(maxsize=4)(self._load)

    def worn_out(self):
        """Whether the process has grown so much that a fresh one should take its place."""
        return psutil.Process().memory_info().rss - self._memory > MAX_MEMORY_GROWTH

    def config(self, hp):
        """The configuration of the trial that `hp` describes."""
        return dataclasses.replace(self._base, **self._space.values(hp.values))

    def graph_key(self, values):
        """What the trials of two points have in common if they share a traced graph."""
        config = dataclasses.replace(self._base, **values)
        return GraphCache.key(config, config.image_size)

    def build(self, hp):
        """A compiled model as freshly built for `hp`."""
        config = self.config(hp)
        check_training(config)
        return self._graphs.take(config, config.image_size, self._num_classes(config))

    def fit(self, hp, model, trial_id, trial_dir, report=lambda row: False):
        """Train the model `build` made, from a shorter training's state if one is at hand.

        Returns:
            The trial's results, of its best epoch; its weights are in `trial_dir`.
        """
        config = self.config(hp)
        dataset = self._dataset(config.image_size)
        rows, weights = self._resume(model, config)
        resumed = len(rows)
        with self._listening(trial_id, config) as listeners:
            for row in rows:
                for listener in listeners:
                    listener(row)
            rows, weights = fit(model, config, dataset, listeners=[*listeners, report], rows=rows, weights=weights)
        save_weights(weights_path(trial_dir), weights)
        self._keep_state(model, config, rows, weights)
        return self._results(config, rows, resumed)

    @contextlib.contextmanager
    def _listening(self, trial_id, config):
        logs = self._folder.logs / trial_id
        shutil.rmtree(logs, ignore_errors=True)  # left by an interrupted try
        values, name = dataclasses.asdict(config), self._folder.path.name
        swept = {key: values[key] for key in [*self._space.parameters, "epochs"]}
        wandb_args = (config.wandb, values, self._folder.path, name, f"{name}-{trial_id}")
        with tensorboard(logs, swept) as scalars, wandb_run(*wandb_args) as wandb_listener:
            yield [scalars, wandb_listener]

    def _results(self, config, rows, resumed):
        best = best_row(rows)
        return {
            "status": "completed" if len(rows) == config.epochs else "pruned",
            **{name: best[name] for name in ("val_accuracy", "val_loss", "accuracy", "loss")},
            "best_epoch": best["epoch"],
            "epochs": len(rows),
            "max_epochs": config.epochs,
            "resumed_after": resumed,
            "training_seconds": sum(row["seconds"] for row in rows[resumed:]),
            "parameters": network_cost(config, config.image_size, self._num_classes(config)).parameters,
            "history": rows,
        }

    def best_model(self, hp, trial_dir):
        """The plain Keras model of a finished trial, with its best epoch's weights."""
        config = self.config(hp)
        return plain_model(config, config.image_size, self._num_classes(config), load_weights(weights_path(trial_dir)))

    def _num_classes(self, config):
        return len(self._dataset(config.image_size).class_names)

    def _load(self, image_size):
        return load_dataset(dataclasses.replace(self._base, image_size=image_size), self._base.seed)

    def _resume(self, model, config):
        """Put the model where a training of the same point with fewer epochs stopped; its rows and weights."""
        found = self._states.load(_state_key(config), config.epochs - 1) if self._longest else None
        if found is None:
            return [], None
        arrays, rows = found
        model.set_weights(arrays["weights"])
        for variable, value in zip(model.optimizer.variables, arrays["optimizer"], strict=True):
            variable.assign(value)
        return rows, arrays["best"]

    def _keep_state(self, model, config, rows, weights):
        if config.epochs >= self._longest:
            self._states.drop(_state_key(config))
        elif len(rows) == config.epochs:
            optimizer = [variable.numpy() for variable in model.optimizer.variables]
            arrays = {"weights": model.get_weights(), "optimizer": optimizer, "best": weights}
            self._states.save(_state_key(config), len(rows), arrays, rows)


def _state_key(config):
    """What two trainings have in common if the one with more epochs continues the other."""
    return str(dataclasses.replace(config, epochs=1))


def weights_path(trial_dir):
    """Where a trial's best weights are, in its folder of KerasTuner's project."""
    return Path(trial_dir) / "weights.npz"


def save_weights(path, weights):
    """Write a model's list of weights whole."""
    with replacing(path) as temporary:
        np.savez(temporary, *weights)


def load_weights(path):
    """The list of weights that `save_weights` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return list(arrays.values())
