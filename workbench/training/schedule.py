"""The learning rate of each training step."""

import math

import keras

from workbench.config import TrainingConfig
from workbench.training.timeline import Timeline

_RISE = 0.2  # share of a one-cycle training in which the learning rate rises


def compute_learning_rate(training: TrainingConfig, steps_per_epoch: int, step: float) -> float:
    """Return the learning rate of one step.

    Args:
        training: settings of the training.
        steps_per_epoch: steps in each epoch.
        step: number of the step, counted from 0 over all epochs; a fraction where the clock drives the schedule.

    Source: linear warm-up, then half a cosine (Loshchilov and Hutter, SGDR, ICLR 2017, without restarts), or a line
    (Smith and Topin, Super-convergence, 2018).
    """
    warmup, total = training.warmup_epochs * steps_per_epoch, training.epochs * steps_per_epoch
    if training.schedule == "one_cycle":
        warmup = warmup or _RISE * total
    if step < warmup:
        return training.learning_rate * min(1.0, (step + 1) / math.ceil(warmup))
    if training.schedule == "constant":
        return training.learning_rate
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    if training.schedule == "one_cycle":
        return training.learning_rate * (1 - done)
    return training.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


class LearningRateSchedule(keras.callbacks.Callback):
    """Set the learning rate before each step.

    It depends on the place of the step in the timeline alone. Where that counts epochs, a resumed run continues it.
    """

    def __init__(self, training: TrainingConfig, steps_per_epoch: int, timeline: Timeline) -> None:
        super().__init__()
        self._training, self._steps_per_epoch, self._timeline = training, steps_per_epoch, timeline
        self._epoch = 0
        self._rate: float | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        step = self._timeline.find_step(self._epoch * self._steps_per_epoch + batch)
        rate = compute_learning_rate(self._training, self._steps_per_epoch, step)
        if rate != self._rate:
            self.model.optimizer.learning_rate.assign(rate)
            self._rate = rate
