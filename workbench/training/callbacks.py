"""What every training does at the end of its epochs: measure, keep the best, stop on NaN, show."""

import math
import time

import keras
import numpy as np
from rich.progress import TextColumn

from workbench.console import bar, console, duration
from workbench.errors import UserError
from workbench.files import replace_file, write_csv
from workbench.keras_graph import build_uncompiled, get_weight_averages
from workbench.training.training_model import get_saved_model


class Diverged(UserError):
    """The loss became NaN or infinite."""


class StopOnNaN(keras.callbacks.Callback):
    """Ends a training whose loss is no longer a number, by raising `Diverged`.

    The loss is a running mean, so that one bad batch shows in every later one; it is looked at twice a
    second and at the end of the epoch, because reading it waits for the device.
    """

    def __init__(self, learning_rate):
        super().__init__()
        self._learning_rate = learning_rate
        self._epoch, self._next_look = 0, 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() >= self._next_look:
            self._look("loss", logs)
            self._next_look = time.monotonic() + 0.5

    def on_epoch_end(self, epoch, logs=None):
        self._look("loss", logs)
        self._look("val_loss", logs)

    def _look(self, name, logs):
        loss = float(logs[name])
        if not math.isfinite(loss):
            what = "validation loss" if name == "val_loss" else "loss"
            raise Diverged(
                f"the {what} became {loss} in epoch {self._epoch + 1}: the training diverged; "
                f"try a learning rate below {self._learning_rate:g}"
            )


class EpochSeeds(keras.callbacks.Callback):
    """Makes the random layers' draws depend on the seed and the epoch's number alone.

    Keras' generators count their draws; a resumed or reused model would otherwise go on from another count.
    """

    def __init__(self, seed):
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        generators = [getattr(layer, "seed_generator", None) for layer in self.model.layers]
        for number, generator in enumerate(reversed([generator for generator in generators if generator])):
            state = np.random.SeedSequence([self._seed, epoch, number]).generate_state(2)
            generator.state.assign(state.astype("uint32"))


class AverageWeights(keras.callbacks.Callback):
    """Validates, keeps and saves the moving average of the weights that the optimizer makes (`use_ema`).

    From each epoch's validation to the next epoch's first step the model holds the averages and the optimizer,
    in their place, the weights that training goes on with; so a saved or kept state has both. (Keras'
    SwapEMAWeights swaps back and forth, and the last epoch's state could not be gone on from.)
    """

    def on_epoch_begin(self, epoch, logs=None):
        if epoch:
            self._swap()

    def on_test_begin(self, logs=None):
        self._swap()

    def on_epoch_end(self, epoch, logs=None):
        self._averages = [variable.numpy() for variable in self.model.trainable_variables]

    def on_train_end(self, logs=None):
        """Put the averages back: Keras has ended the training by what stood in their place."""
        for variable, average in zip(self.model.trainable_variables, self._averages, strict=True):
            variable.assign(average)

    def _swap(self):
        pairs = zip(self.model.trainable_variables, get_weight_averages(self.model.optimizer), strict=True)
        for variable, average in pairs:
            held = variable.numpy()
            variable.assign(average)
            average.assign(held)


class EpochRecord(keras.callbacks.Callback):
    """Measures each epoch and hands its row to the listeners.

    A listener that returns True ends the training. A row holds epoch (from 1), loss, accuracy, val_loss,
    val_accuracy, learning_rate, seconds (validation included) and images_per_second (training alone).
    """

    def __init__(self, num_images, listeners=(), rows=()):
        super().__init__()
        self.rows = list(rows)
        self._num_images, self._listeners = num_images, listeners
        self._start = self._trained = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._start, self._trained = time.perf_counter(), None

    def on_test_begin(self, logs=None):
        self._trained = self._trained or time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter()
        names = ("loss", "accuracy", "val_loss", "val_accuracy")
        row = {"epoch": epoch + 1, **{name: float(logs[name]) for name in names}}
        row["learning_rate"] = float(self.model.optimizer.learning_rate.numpy())
        row["seconds"] = now - self._start
        row["images_per_second"] = self._num_images / ((self._trained or now) - self._start)
        self.rows.append(row)
        for listener in self._listeners:
            if listener(row):
                self.model.stop_training = True


def best_row(rows):
    """The row of the best epoch: highest validation accuracy, the lower validation loss among equals."""
    return max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))


def has_stalled(rows, patience):
    """Whether the last `patience` epochs brought no better one; never with a patience of 0."""
    return bool(patience) and len(rows) - rows.index(best_row(rows)) > patience


class KeepBest(keras.callbacks.Callback):
    """Keeps a copy of the best epoch's weights in memory, as `best_row` chooses it.

    Stands after the `EpochRecord` whose rows it reads.
    """

    def __init__(self, record, weights=None):
        super().__init__()
        self._record = record
        self.weights = weights

    def on_epoch_end(self, epoch, logs=None):
        if best_row(self._record.rows) is self._record.rows[-1]:
            self.weights = self.model.get_weights()


class SaveEpoch(keras.callbacks.Callback):
    """Saves after each epoch what a resumed run needs, every file whole and `last.keras` as the last one.

    `model.keras` (or `best_name`) is the best epoch's model without its optimizer, `last.keras` the last one's
    with it, and `history.csv` has a row an epoch. Stands after the `EpochRecord` whose rows it reads.
    """

    def __init__(self, record, folder, best_name="model.keras"):
        super().__init__()
        self._record, self._folder, self._best_name = record, folder, best_name

    def on_epoch_end(self, epoch, logs=None):
        rows = self._record.rows
        write_csv(self._folder / "history.csv", rows)
        saved = get_saved_model(self.model)
        if best_row(rows) is rows[-1]:
            save_model(build_uncompiled(saved), self._folder, self._best_name)
        save_model(saved, self._folder, "last.keras")


def save_model(model, folder, name="model.keras"):
    """Save a model whole; one that is not compiled is saved without an optimizer."""
    with replace_file(folder / name) as temporary:
        model.save(temporary)


class ShowProgress(keras.callbacks.Callback):
    """A bar with images per second and time left, and a line for each finished epoch."""

    def __init__(self, record, epochs, steps, num_images, first_epoch=0):
        super().__init__()
        self._record, self._epochs, self._steps = record, epochs, steps
        self._num_images, self._first_epoch = num_images, first_epoch
        self._bar = bar(TextColumn("{task.fields[rate]}"))
        self._epoch, self._done, self._next_look, self._start = first_epoch, first_epoch * steps, 0.0, 0.0

    def on_train_begin(self, logs=None):
        if not self._bar.tasks:  # a training of several stages begins once for each
            self._start = time.perf_counter()
            self._task = self._bar.add_task("epoch 1", total=self._epochs * self._steps, completed=self._done, rate="")
        self._bar.start()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self._done = self._epoch * self._steps + batch + 1
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + 0.2
            epoch = min(self._epochs, self._done // self._steps + 1)
            steps = self._done - self._first_epoch * self._steps
            rate = steps / self._steps * self._num_images / (time.perf_counter() - self._start)
            description = f"epoch {epoch}/{self._epochs}"
            self._bar.update(self._task, completed=self._done, description=description, rate=f"{rate:,.0f} images/s")

    def on_epoch_end(self, epoch, logs=None):
        row = self._record.rows[-1]
        best = "  best so far" if best_row(self._record.rows) is row else ""
        left = (self._epochs - epoch - 1) * row["seconds"]
        width = len(str(self._epochs))
        console.print(
            f"epoch {epoch + 1:{width}d}/{self._epochs}  loss {row['loss']:.3f}  accuracy {row['accuracy']:6.1%}  "
            f"val_loss {row['val_loss']:.3f}  val_accuracy {row['val_accuracy']:6.1%}  "
            f"{row['images_per_second']:,.0f} images/s  {duration(left)} left{best}"
        )

    def on_train_end(self, logs=None):
        self.close()

    def close(self):
        """Take the bar off the screen, also after an error."""
        self._bar.stop()
