"""How far a training is: by the number of its epochs, or by the clock."""

import math
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Protocol

import keras

from workbench.clock import get_command_start
from workbench.config import TrainingConfig, parse_duration
from workbench.console import console, format_duration
from workbench.errors import UserError
from workbench.training.history import EpochLog
from workbench.training.progressive_resizing import list_stages

_ENDING_SECONDS, _ENDING_SHARE = 3.0, 0.01  # of a budget, kept for the report and for leaving the process
_ENDING_OF_START = 0.15  # and this share of the seconds of starting: on a busy machine both take longer
_LEAST_SECONDS = 5.0  # a shorter training is refused
_LEAST = 0.01  # of the time: if less remains, no other epoch begins
_FINISHED = 0.03  # of the time: if less remains, a resumed training only writes its results
_TRACING = 2.0  # seconds of the first validation, besides its computation
_MARGIN = 1.1  # the last validation may take this many times as long as the one before
_FORWARD = 0.6  # seconds of validating an image, as a share of those of training with it


class Timeline(Protocol):
    """How far a training is. Learning rate and image size follow it."""

    def find_step(self, step: int) -> float:
        """Return the place of a step, counted from 0, among the steps of all epochs."""
        ...

    def choose_image_size(self, epochs_done: int) -> int:
        """Return the side of the training images of the next epoch, in pixels."""
        ...

    def is_over(self, epochs_done: int) -> bool:
        """Return whether the training ends after this number of epochs."""
        ...

    def estimate_seconds_left(self, epochs_done: int, epoch_seconds: float) -> float:
        """Return the seconds that remain, from those of the last epoch."""
        ...

    def describe(self) -> EpochLog:
        """Return what the history of an epoch that ends now should hold, so that the training can be resumed."""
        ...


class EpochTimeline:
    """The timeline of a training that ends after `training.epochs`.

    Args:
        training: settings of the training.
        image_size: side of the stored images in pixels.
    """

    def __init__(self, training: TrainingConfig, image_size: int) -> None:
        self._epochs, self._stages = training.epochs, list_stages(training, image_size)

    def find_step(self, step: int) -> float:
        return step

    def choose_image_size(self, epochs_done: int) -> int:
        return next((size for end, size in self._stages if epochs_done < end), self._stages[-1][1])

    def is_over(self, epochs_done: int) -> bool:
        return epochs_done >= self._epochs

    def estimate_seconds_left(self, epochs_done: int, epoch_seconds: float) -> float:
        return (self._epochs - epochs_done) * epoch_seconds

    def describe(self) -> EpochLog:
        return {}


class ClockTimeline:
    """The timeline of a training that ends at a time, even if an epoch is not complete.

    `training.epochs` is how many epochs the plan expects. The clock maps onto them: when half of the time has passed,
    learning rate and image size are those of the middle epoch, however many epochs were done.

    Args:
        training: settings of the training.
        image_size: side of the stored images in pixels.
        steps_per_epoch: of the training.
        seconds: from now until the last epoch must have been validated and saved.
        done: share of the training that was done in earlier calls.
    """

    def __init__(
        self, training: TrainingConfig, image_size: int, steps_per_epoch: int, seconds: float, done: float = 0.0
    ) -> None:
        self._epochs, self._stages = training.epochs, list_stages(training, image_size)
        self._steps = training.epochs * steps_per_epoch
        self._start, self._done = perf_counter(), done
        self._seconds, self._closing = seconds, 0.0

    def reserve(self, closing: float) -> None:
        """Keep this many seconds for validating and saving the last epoch."""
        self._closing = closing

    @property
    def progress(self) -> float:
        """The share of the training that is done, from 0 to 1."""
        passed, whole = perf_counter() - self._start, max(self._seconds - self._closing, 1e-9)
        return min(1.0, self._done + (1 - self._done) * passed / whole)

    def find_step(self, step: int) -> float:
        return self.progress * self._steps

    def choose_image_size(self, epochs_done: int) -> int:
        epoch = self.progress * self._epochs
        return next((size for end, size in self._stages if epoch < end), self._stages[-1][1])

    def is_over(self, epochs_done: int) -> bool:
        return self.progress >= 1 - _LEAST

    def estimate_seconds_left(self, epochs_done: int, epoch_seconds: float) -> float:
        return max(0.0, self._start + self._seconds - perf_counter())

    def describe(self) -> EpochLog:
        return {"progress": self.progress}


def has_used_budget(training: TrainingConfig, history: Sequence[EpochLog]) -> bool:
    """Return whether hardly anything of the training's budget is left; never without a budget."""
    return bool(training.budget and history) and history[-1]["progress"] > 1 - _FINISHED


def make_timeline(training: TrainingConfig, history: Sequence[EpochLog], image_size: int, steps: int) -> Timeline:
    """Make the timeline of a training, and print what remains if it follows the clock.

    A budget counts from the start of the command. In a call that resumes a training it counts from now, and what the
    earlier calls did is subtracted.

    Args:
        training: settings of the training.
        history: the epochs that earlier calls did.
        image_size: side of the stored images in pixels.
        steps: of an epoch.

    Raises:
        UserError: the budget is too short for what comes before and after the training.
    """
    budget = parse_duration(training.budget)
    if not budget:
        return EpochTimeline(training, image_size)
    done = history[-1]["progress"] if history else 0.0
    spent = 0.0 if history else perf_counter() - get_command_start()
    slow = _ENDING_OF_START * spent
    ending = _ENDING_SECONDS + _ENDING_SHARE * budget + slow
    seconds = (1 - done) * (budget - ending) - spent
    if seconds < _LEAST_SECONDS and not history:
        least = math.ceil((spent + slow + _ENDING_SECONDS + _LEAST_SECONDS) / (1 - _ENDING_SHARE))
        raise UserError(f"--budget {training.budget}: starting took {spent:.1f} s; give at least {least}s")
    start = f" ({format_duration(spent)} went into starting)" if spent else ""
    console.print(f"the training has {format_duration(seconds)} of {format_duration(budget)}{start}")
    return ClockTimeline(training, image_size, steps, seconds, done)


class FollowClock(keras.callbacks.Callback):
    """Callback that ends the epoch in time, so that it can be validated and saved.

    It measures how long that takes, so it must come after the callbacks that save.

    Args:
        timeline: of the training.
        validation_share: pixels of the validation images as a share of those of an epoch's training images.
        steps: of one epoch.
    """

    def __init__(self, timeline: ClockTimeline, validation_share: float, steps: int) -> None:
        super().__init__()
        self._timeline, self._validation_steps = timeline, validation_share * steps
        self._closing = self._first_step = self._trained = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._first_step = 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._closing:  # no epoch has been validated yet
            self._first_step = self._first_step or perf_counter()
            each = (perf_counter() - self._first_step) / max(1, batch)
            self._timeline.reserve(_TRACING + _FORWARD * each * self._validation_steps)
        if self._timeline.progress >= 1:
            self.model.stop_training = True

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._trained = perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._closing = _MARGIN * (perf_counter() - self._trained)
        self._timeline.reserve(self._closing)


class ChangeStage(keras.callbacks.Callback):
    """Callback that ends `keras.Model.fit` after the epoch where the images change their size or the training is over.

    Args:
        timeline: of the training.
        image_size: side of the present training images in pixels.

    Attributes:
        has_ended: whether the stage ended, and not the training because of another callback.
    """

    def __init__(self, timeline: Timeline, image_size: int) -> None:
        super().__init__()
        self._timeline, self._image_size = timeline, image_size
        self.has_ended = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.model.stop_training:
            return
        done = epoch + 1
        if self._timeline.is_over(done) or self._timeline.choose_image_size(done) != self._image_size:
            self.has_ended = self.model.stop_training = True
