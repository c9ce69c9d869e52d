"""How many epochs fit into a time, from a short measurement."""

import time

import keras

from vision.console import console, duration
from vision.data.pipeline import steps_per_epoch
from vision.errors import UserError
from vision.fitting import batches, validation_batches

_STEPS = 8  # of training, and at most as many of validation, are measured
_SPARE = 0.05  # of the time is left for what is not measured: saving, the report


def epochs_within(seconds, make_model, config, dataset, *, spent=0.0):
    """The number of epochs that a training can have in a time, told on the screen.

    Args:
        seconds: the time in all.
        make_model: returns a compiled model; it is trained for a few steps and given up.
        config: has the fields of `TrainingConfig` and `RecipeConfig`, and `seed`.
        dataset: a `vision.data.dataset.Dataset`.
        spent: seconds of the time that are gone already.

    Raises:
        UserError: not one epoch fits; says how long one takes.
    """
    start = time.perf_counter()
    started, epoch = measure(make_model(), config, dataset)
    spent += time.perf_counter() - start + started  # the training's own graph is yet to be traced
    epochs = int(((1 - _SPARE) * seconds - spent) / epoch)
    if epochs < 1:
        least = (spent + epoch) / (1 - _SPARE)
        raise UserError(f"--budget {seconds:g}s: one epoch takes {epoch:.1f} s here; give at least {least + 1:.0f}s")
    gone = f"{duration(spent)} go into starting"
    console.print(f"{epochs:,} epochs of {duration(epoch)} fit into {duration(seconds)} ({gone})")
    return epochs


def measure(model, config, dataset):
    """Seconds that a training takes to start, and seconds of an epoch with its validation.

    The model is trained for two times a few steps; the first time counts as the start.
    """
    steps = steps_per_epoch(dataset, config.batch_size)
    checks = -(-len(dataset.validation) // config.batch_size)
    watch = _Stopwatch()
    short = min(_STEPS, steps), min(_STEPS, checks)
    start = time.perf_counter()
    model.fit(
        batches(config, dataset),
        validation_data=validation_batches(config, dataset).repeat(),
        steps_per_epoch=short[0],
        validation_steps=short[1],
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[watch],
    )
    epoch = watch.training * steps / short[0] + watch.validating * checks / short[1]
    return max(0.0, time.perf_counter() - start - 2 * (watch.training + watch.validating)), epoch


class _Stopwatch(keras.callbacks.Callback):
    """Seconds of the last epoch: `training` and `validating`."""

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_test_begin(self, logs=None):
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.training, self.validating = self._trained - self._start, time.perf_counter() - self._trained
