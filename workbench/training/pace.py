"""How fast a training runs on this machine: a short measurement."""

import dataclasses
import time

import keras
import tensorflow as tf

from workbench.config import TrainingConfig
from workbench.data.dataset import Dataset
from workbench.data.pipeline import count_steps
from workbench.training.batches import feed, make_training_batches, make_validation_batches
from workbench.training.callbacks import Logs
from workbench.training.progressive_resizing import list_stages
from workbench.training.training_model import select_image_size

_STEPS, _SECONDS = 8, 2.0  # training steps to measure: at most so many, and as many as fit into the time
_SHORT = 10.0  # seconds of a training for which one measured step is enough


@dataclasses.dataclass(frozen=True)
class Pace:
    """How fast a training runs.

    Attributes:
        start: seconds before its first epoch, such as for tracing; they have passed when the pace is known.
        epoch_seconds: side of the training images -> seconds of an epoch with its validation.
        training: what was measured.
    """

    start: float
    epoch_seconds: dict[int, float]
    training: TrainingConfig

    def seconds(self, epochs: int, first: int = 0, last: int | None = None) -> float:
        """Return the seconds of the epochs from number `first` up to `last` of a training of `epochs`."""
        total, begin, last = 0.0, 0, epochs if last is None else last
        for end, size in list_stages(dataclasses.replace(self.training, epochs=epochs), max(self.epoch_seconds)):
            total += max(0, min(end, last) - max(begin, first)) * self.epoch_seconds[size]
            begin = end
        return total


def measure_pace(model: keras.Model, dataset: Dataset, training: TrainingConfig) -> Pace:
    """Measure a few steps of a compiled model, whose variables are restored afterwards.

    The training reuses the graphs that are traced in the measurement.
    """
    begin = time.perf_counter()
    variables = [*model.variables, *model.optimizer.variables]
    values = [variable.numpy() for variable in variables]
    sizes = [size for _, size in list_stages(training, dataset.images.shape[1])]
    epoch_seconds = {size: _measure_epoch(model, dataset, training, size) for size in sizes}
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return Pace(time.perf_counter() - begin, epoch_seconds, training)


def _measure_epoch(model: keras.Model, dataset: Dataset, training: TrainingConfig, image_size: int) -> float:
    """Estimate the seconds of an epoch with training images of some size, and of its validation."""
    steps, at_once = count_steps(dataset, training.batch_size), model.steps_per_execution
    validation = make_validation_batches(dataset, training)
    validation_steps = int(validation.cardinality())
    select_image_size(model, image_size)
    with feed(model, make_training_batches(dataset, training, image_size=image_size)) as batches:
        timed, count = _run_steps(model, batches, validation, at_once, 1, epochs=2), at_once  # the first epoch traces
        if timed.training * steps / at_once * training.epochs > _SHORT:
            count = min(steps, at_once * max(1, min(_STEPS // at_once, int(_SECONDS / timed.training))))
            timed = _run_steps(model, batches, validation, count, min(count, validation_steps))
    validated = -(-min(count, validation_steps) // at_once) * at_once
    return timed.training * steps / count + timed.validating * validation_steps / validated


class _Stopwatch(keras.callbacks.Callback):
    """Callback that measures the last epoch: seconds of `training` and of `validating`."""

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._start = time.perf_counter()

    def on_test_begin(self, logs: Logs = None) -> None:
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.training, self.validating = self._trained - self._start, time.perf_counter() - self._trained


def _run_steps(
    model: keras.Model,
    batches: tf.data.Dataset,
    validation: tf.data.Dataset,
    steps: int,
    validation_steps: int,
    epochs: int = 1,
) -> _Stopwatch:
    stopwatch = _Stopwatch()
    model.fit(
        batches,
        validation_data=validation.repeat(),
        steps_per_epoch=steps,
        validation_steps=validation_steps,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[stopwatch],
    )
    return stopwatch
