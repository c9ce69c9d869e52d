"""One trial: fit a compiled network and score it; KerasTuner's hypermodel of it."""

import contextlib
import dataclasses
import shutil
from pathlib import Path

import keras_tuner
import numpy as np

from cnn_scratch.graphs import GraphCache, plain_model
from cnn_scratch.model import network_cost
from vision.data.dataset import balanced_weights, load_dataset
from vision.data.pipeline import evaluation_batches, steps_per_epoch, training_batches
from vision.files import replacing
from vision.settings import check_training
from vision.sweep.space import decode
from vision.tracking import tensorboard
from vision.training import EpochRecord, EpochSeeds, KeepBest, StopOnNaN, best_row


def fit(model, config, dataset, *, listeners=(), rows=(), callbacks=lambda record: ()):
    """Train a compiled model, from where `rows` ends.

    Args:
        model: compiled, mapping uint8 images to logits.
        config: has the fields of `TrainingConfig`, and `seed`.
        dataset: a `vision.data.dataset.Dataset`.
        listeners: called with each finished epoch's row.
        rows: rows of the epochs already done.
        callbacks: takes the `EpochRecord`, returns further Keras callbacks.

    Returns:
        (rows of all epochs, weights of the best epoch among those run now, or None).

    Raises:
        Diverged: the loss became NaN or infinite.
    """
    record = EpochRecord(len(dataset.train), listeners, rows)
    keep_best = KeepBest(record)
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
        callbacks=[
            EpochSeeds(config.seed),
            StopOnNaN(config.learning_rate),
            record,
            keep_best,
            *callbacks(record),
        ],
    )
    return record.rows, keep_best.weights


class CnnHyperModel(keras_tuner.HyperModel):
    """KerasTuner's view of the network: builds it for a point of the space, and fits it.

    Args:
        base: the configuration of a trial, its swept values still to be put in.
        dataset: what it is trained on where the image size is not swept.
        logs: folder of the trials' event files.
        listeners: takes a trial's id and configuration, returns a context manager that gives a listener to its
            epochs' rows.
    """

    def __init__(self, base, dataset, logs, listeners=()):
        super().__init__()
        self._base, self._logs, self._listeners = base, logs, listeners
        self._datasets = {dataset.image_size: dataset}
        self._graphs = GraphCache()

    def config(self, hp):
        """The configuration of the trial that `hp` describes."""
        return dataclasses.replace(self._base, **decode(hp.values))

    def build(self, hp):
        """A compiled model as freshly built for `hp`."""
        config = self.config(hp)
        check_training(config)
        return self._graphs.take(config, config.image_size, len(self._dataset(config).class_names))

    def fit(self, hp, model, trial_id, trial_dir):
        """Train the model `build` made; the best epoch's results, its weights in `trial_dir`."""
        config, dataset = self.config(hp), self._dataset(self.config(hp))
        logs = self._logs / trial_id
        shutil.rmtree(logs, ignore_errors=True)  # left by an interrupted try
        with contextlib.ExitStack() as stack:
            listeners = [stack.enter_context(tensorboard(logs, hp.values))]
            listeners += [stack.enter_context(listener(trial_id, config)) for listener in self._listeners]
            rows, weights = fit(model, config, dataset, listeners=listeners)
        save_weights(weights_path(trial_dir), weights)
        best = best_row(rows)
        return {
            **{name: best[name] for name in ("val_accuracy", "val_loss", "accuracy", "loss")},
            "best_epoch": best["epoch"],
            "epochs": len(rows),
            "parameters": network_cost(config, config.image_size, len(dataset.class_names)).parameters,
        }

    def best_model(self, hp, trial_dir):
        """The plain Keras model of a finished trial, with its best epoch's weights."""
        config = self.config(hp)
        num_classes = len(self._dataset(config).class_names)
        return plain_model(config, config.image_size, num_classes, load_weights(weights_path(trial_dir)))

    def _dataset(self, config):
        if config.image_size not in self._datasets:
            self._datasets[config.image_size] = load_dataset(config, self._base.seed)
        return self._datasets[config.image_size]


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
