"""The callbacks of every training: seeding, weight averaging, recording, checkpoints and progress."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from rich.progress import Progress, TextColumn

from workbench.console import console, format_duration, open_bar
from workbench.errors import UserError
from workbench.keras_graph import LOGITS, get_weight_averages
from workbench.runtime import is_multi_worker
from workbench.training.history import EpochLog, find_best_epoch
from workbench.training.timeline import EpochTimeline, Timeline
from workbench.training.training_model import TrainingModel, Unfreezing

Logs = dict[str, Any] | None
Listener = Callable[[EpochLog], bool | None]
"""Called with each finished epoch; training ends if it returns True."""


class Diverged(UserError):
    """The loss became NaN or infinite."""


class CheckInterrupts(keras.callbacks.Callback):
    """Callback that calls a function before each batch; see `delay_interrupts`."""

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__()
        self._check = check

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._check()

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._check()


class StopOnDivergence(keras.callbacks.Callback):
    """Callback that raises `Diverged` when the loss is NaN or infinite.

    The loss is a running mean, so one bad batch shows in every later one. It is read twice a second and at the end of
    the epoch, because reading it waits for the device. Several processes that train together read it only at the end of
    the epoch, so that all of them stop there.
    """

    def __init__(self, learning_rate: float) -> None:
        super().__init__()
        self._learning_rate = learning_rate
        self._epoch, self._next_check = 0, math.inf if is_multi_worker() else 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if time.monotonic() >= self._next_check:
            self._check("loss", logs)
            self._next_check = time.monotonic() + 0.5

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._check("loss", logs)
        self._check("val_loss", logs)

    def _check(self, name: str, logs: Logs) -> None:
        loss = float((logs or {})[name])
        if not math.isfinite(loss):
            what = "validation loss" if name == "val_loss" else "loss"
            raise Diverged(
                f"the {what} became {loss} in epoch {self._epoch + 1}: the training diverged; "
                f"try a learning rate below {self._learning_rate:g}"
            )


class SeedEpochs(keras.callbacks.Callback):
    """Callback that makes dropout's random numbers depend on the seed and the epoch's number alone.

    Keras' generators count how many numbers they have drawn. Without this, a resumed or reused model would draw other
    numbers than an uninterrupted one.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        generators = [getattr(layer, "seed_generator", None) for layer in self.model.layers]
        for number, generator in enumerate(reversed([generator for generator in generators if generator])):
            state = np.random.SeedSequence([self._seed, epoch, number]).generate_state(2)
            generator.state.assign(state.astype("uint32"))


class AverageWeights(keras.callbacks.Callback):
    """Callback that validates, keeps and saves the moving average of the weights (the optimizer's `use_ema`).

    From an epoch's validation to the next epoch's first step the model holds the averages, and the optimizer's average
    variables hold the weights that training continues with. So a saved state has both. (Keras' SwapEMAWeights swaps
    back before the epoch ends, so the last epoch's saved state could not be resumed.)
    """

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if epoch:
            self._swap()

    def on_test_begin(self, logs: Logs = None) -> None:
        self._swap()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._averages = [variable.numpy() for variable in self.model.trainable_variables]

    def on_train_end(self, logs: Logs = None) -> None:
        """Put the averages back into the model: at the end of training Keras overwrites them."""
        for variable, average in zip(self.model.trainable_variables, self._averages, strict=True):
            variable.assign(average)

    def _swap(self) -> None:
        pairs = zip(self.model.trainable_variables, get_weight_averages(self.model.optimizer), strict=True)
        for variable, average in pairs:
            value = variable.numpy()
            variable.assign(average)
            average.assign(value)


class UpdateSavedModel(keras.callbacks.Callback):
    """Callback that copies the weights to the saved model before each validation, if that model validates."""

    def on_test_begin(self, logs: Logs = None) -> None:
        if isinstance(self.model, TrainingModel) and self.model.validates_saved:
            self.model.update_saved_weights()


class UnfreezeStages(keras.callbacks.Callback):
    """Callback that unfreezes one stage of the network after the other.

    Which ones are trained depends on the place in the timeline alone, so a resumed run continues with the same ones.

    Args:
        unfreezing: the stages.
        timeline: of the training.
        steps: of one epoch.
    """

    def __init__(self, unfreezing: Unfreezing, timeline: Timeline, steps: int) -> None:
        super().__init__()
        self._unfreezing, self._timeline, self._steps = unfreezing, timeline, steps
        self._count = 0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        count = self._unfreezing.count_stages(self._timeline.find_step(epoch * self._steps) / self._steps)
        if count != self._count:
            self._count = count
            self.model.freeze_layers(self._unfreezing.list_frozen(count))
            console.print(
                f"epoch {epoch + 1}: {count} of {len(self._unfreezing.stages)} stages are trained", style="dim"
            )


class RecordHistory(keras.callbacks.Callback):
    """Callback that measures each epoch, appends its values to `history` and calls the listeners with them.

    Args:
        history: the epochs that were done before; finished ones are appended.
        timeline: of the training.
        step_images: mean number of images in a step.
        listeners: called with each finished epoch; one that returns True ends the training.
    """

    def __init__(
        self,
        history: list[EpochLog],
        timeline: Timeline,
        step_images: float,
        listeners: Sequence[Listener] = (),
    ) -> None:
        super().__init__()
        self._history, self._timeline = history, timeline
        self._step_images, self._listeners = step_images, listeners
        self._start, self._steps = 0.0, 0
        self._trained: float | None = None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._start, self._trained = time.perf_counter(), None

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._steps = batch + 1

    def on_test_begin(self, logs: Logs = None) -> None:
        self._trained = self._trained or time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        now = time.perf_counter()
        values = logs or {}
        log: EpochLog = {"epoch": epoch + 1}
        log.update({name: float(values[name]) for name in ("loss", "accuracy", "val_loss", "val_accuracy")})
        log["learning_rate"] = float(self.model.optimizer.learning_rate.numpy())
        log["seconds"] = now - self._start
        log["images_per_second"] = self._steps * self._step_images / ((self._trained or now) - self._start)
        log |= self._timeline.describe()
        self._history.append(log)
        for listener in self._listeners:
            if listener(log):
                self.model.stop_training = True


class KeepBestWeights(keras.callbacks.Callback):
    """Callback that keeps a copy of the best epoch's weights in memory.

    Args:
        history: the list to which `RecordHistory` has appended the epoch.
        weights: of the best epoch of those that were done before.
    """

    def __init__(self, history: list[EpochLog], weights: list[np.ndarray] | None = None) -> None:
        super().__init__()
        self._history, self.weights = history, weights

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if find_best_epoch(self._history) is self._history[-1]:
            self.weights = self.model.get_weights()


class KeepBestLogits(keras.callbacks.Callback):
    """Callback that keeps the logits of the best epoch for the validation images, without a second pass over them.

    Args:
        model: the model that is trained.
        history: the list to which `RecordHistory` has appended the epoch.
        logits: of the best epoch of those that were done before, float32 (n, num_classes).
    """

    def __init__(self, model: TrainingModel, history: list[EpochLog], logits: np.ndarray | None = None) -> None:
        super().__init__()
        model.return_logits()
        self._history, self.logits = history, logits
        self._batches: list[Any] = []

    def on_test_begin(self, logs: Logs = None) -> None:
        self._batches = []

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._batches.append((logs or {})[LOGITS])

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if find_best_epoch(self._history) is self._history[-1]:
            self.logits = np.concatenate(self._batches)
        self._batches = []


def open_training_bar() -> Progress:
    """Return the bar of `ShowProgress`, a context manager."""
    return open_bar(TextColumn("{task.fields[rate]}"))


class ShowProgress(keras.callbacks.Callback):
    """Callback that shows a bar with images per second and time left, and prints a line for each finished epoch.

    Args:
        bar: of `open_training_bar`. The caller shows and removes it, because Keras calls no callback after an error.
        history: the list to which `RecordHistory` has appended the epoch.
        timeline: of the training.
        epochs: of the whole training.
        steps: of one epoch.
        num_images: training images in one epoch.
    """

    def __init__(
        self, bar: Progress, history: list[EpochLog], timeline: Timeline, epochs: int, steps: int, num_images: int
    ) -> None:
        super().__init__()
        self._bar = bar
        self._history, self._timeline, self._steps, self._num_images = history, timeline, steps, num_images
        self._total = epochs * steps
        self._of_epochs = f"/{epochs}" if isinstance(timeline, EpochTimeline) else ""
        self._width = len(str(epochs))
        self._first_step = len(history) * steps
        self._epoch, self._next_update, self._start = len(history), 0.0, 0.0

    def on_train_begin(self, logs: Logs = None) -> None:
        if not self._bar.tasks:  # with growing images Keras begins a training for each size
            self._start = time.perf_counter()
            done = round(self._timeline.find_step(self._first_step))
            self._task = self._bar.add_task("epoch 1", total=self._total, completed=done, rate="")

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        done = self._epoch * self._steps + batch + 1
        if time.monotonic() >= self._next_update:
            self._next_update = time.monotonic() + 0.2
            rate = (done - self._first_step) / self._steps * self._num_images / (time.perf_counter() - self._start)
            description = f"epoch {self._epoch + 1}{self._of_epochs}"
            completed = self._timeline.find_step(done)
            self._bar.update(self._task, completed=completed, description=description, rate=f"{rate:,.0f} images/s")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        log = self._history[-1]
        best = "  best so far" if find_best_epoch(self._history) is log else ""
        left = self._timeline.estimate_seconds_left(epoch + 1, log["seconds"])
        number = f"epoch {epoch + 1:{self._width}d}{self._of_epochs}"
        console.print(
            f"{number}  loss {log['loss']:.3f}  accuracy {log['accuracy']:6.1%}  "
            f"val_loss {log['val_loss']:.3f}  val_accuracy {log['val_accuracy']:6.1%}  "
            f"{log['images_per_second']:,.0f} images/s  {format_duration(left)} left{best}"
        )
