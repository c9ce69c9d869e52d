"""The learning-rate range test: the rate rises step by step, and the loss shows at which rate it falls fastest."""

import dataclasses
import math
from pathlib import Path

import keras
import numpy as np

from workbench.config import TrainingConfig
from workbench.console import console
from workbench.data.dataset import Dataset
from workbench.errors import UserError
from workbench.files import write_csv
from workbench.signals import delay_interrupts
from workbench.training.batches import feed, make_training_batches
from workbench.training.callbacks import CheckInterrupts, Logs, SeedEpochs

STEPS, LOWEST, HIGHEST = 200, 1e-6, 1.0
_SMOOTHING = 0.9
_DIVERGED = 4  # the test ends when the loss exceeds its lowest value so many times
_SETTLING = 10  # first steps, in which the moving average is not yet smooth


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """The result of a range test.

    Attributes:
        rates: learning rate of each step, float64 (steps,).
        losses: of each step's batch.
        smoothed: their moving average.
        suggestion: the rate at which the smoothed loss falls fastest.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float


def find_learning_rate(model: keras.Model, dataset: Dataset, training: TrainingConfig, steps: int = STEPS) -> RangeTest:
    """Train for some steps with a learning rate that rises exponentially, and suggest one.

    Args:
        model: compiled, with its initial weights. It cannot be used for anything else afterwards.
        steps: between 1e-6 and 1; fewer are done if the loss explodes.

    Raises:
        UserError: the loss falls at no learning rate.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017; the suggestion by the steepest
    fall is fastai's.
    """
    rise = _RaiseLearningRate(steps)
    with feed(model, make_training_batches(dataset, training)) as batches, delay_interrupts() as check:
        model.fit(
            batches,
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
            callbacks=[CheckInterrupts(check), SeedEpochs(training.seed), rise],
        )
    losses = np.array(rise.losses)
    rates, smoothed = rise.rates[: len(losses)], np.array(rise.smoothed)
    return RangeTest(rates, losses, smoothed, find_steepest_fall(rates, smoothed))


def find_steepest_fall(rates: np.ndarray, smoothed: np.ndarray) -> float:
    """Return the learning rate at which the smoothed loss falls fastest on the way to its lowest value.

    Raises:
        UserError: it does not fall.
    """
    end = int(np.nanargmin(smoothed)) + 1
    if end < _SETTLING + 2:
        raise UserError("--lr-find: the loss fell at no learning rate; are the images and their classes right?")
    slopes = np.gradient(smoothed[_SETTLING:end], np.log(rates[_SETTLING:end]))
    return float(rates[_SETTLING + int(slopes.argmin())])


class _RaiseLearningRate(keras.callbacks.Callback):
    """Callback that raises the learning rate before each step, and ends the test when the loss explodes."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.rates = np.geomspace(LOWEST, HIGHEST, steps)
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self._mean = 0.0

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self.model.reset_metrics()  # so that the reported loss is this batch's alone
        self.model.optimizer.learning_rate.assign(self.rates[batch])

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        loss = float((logs or {})["loss"])
        if not math.isfinite(loss):
            self.model.stop_training = True
            return
        self._mean = _SMOOTHING * self._mean + (1 - _SMOOTHING) * loss
        self.losses.append(loss)
        self.smoothed.append(self._mean / (1 - _SMOOTHING ** len(self.losses)))
        if self.smoothed[-1] > _DIVERGED * min(self.smoothed):
            self.model.stop_training = True


def suggest_learning_rate(model: keras.Model, dataset: Dataset, training: TrainingConfig, folder: Path) -> float:
    """Run the range test, write its files into a folder, and print and return the rate that it suggests.

    Raises:
        UserError: the loss falls at no learning rate.
    """
    test = find_learning_rate(model, dataset, training)
    picture = save_range_test(test, folder)
    console.print(f"the loss falls fastest at a learning rate of {test.suggestion:.2g}: {picture}")
    return test.suggestion


def save_range_test(test: RangeTest, folder: Path) -> Path:
    """Write `lr_find.csv` and `lr_find.png` into a folder, and return the picture's path."""
    # imported late: a training must not wait for Matplotlib
    from workbench.reporting.figures import BLUE, GREY, ORANGE, open_figure, save_figure

    columns = {"learning_rate": test.rates, "loss": test.losses, "smoothed_loss": test.smoothed}
    rows = [dict(zip(columns, map(float, values), strict=True)) for values in zip(*columns.values(), strict=True)]
    write_csv(folder / "lr_find.csv", rows)
    with open_figure(8, 4) as (made, axes):
        axes.plot(test.rates, test.losses, color=GREY, lw=0.8, alpha=0.6, label="of each batch")
        axes.plot(test.rates, test.smoothed, color=BLUE, lw=2, label="smoothed")
        axes.axvline(test.suggestion, color=ORANGE, ls="--", label=f"steepest fall: {test.suggestion:.2g}")
        axes.set_xscale("log")
        axes.set_ylim(0, 1.3 * max(test.smoothed[0], test.smoothed[: int(test.smoothed.argmin()) + 1].max()))
        axes.set_xlabel("learning rate")
        axes.set_ylabel("training loss")
        axes.legend(loc="lower left")
        title = f"The loss falls fastest at a learning rate of {test.suggestion:.2g}"
        caption = f"{len(test.rates)} training steps, each with a higher learning rate than the one before."
        return save_figure(made, folder / "lr_find.png", title, caption)
