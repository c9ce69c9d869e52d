"""What a training costs, told before it starts: by a short measurement, beside how far off earlier ones were."""

import bisect
import contextlib
import dataclasses
import statistics
import time

import keras

from workbench.cache import find_cache_dir
from workbench.console import console, duration
from workbench.data.pipeline import steps_per_epoch
from workbench.errors import UserError
from workbench.files import append_csv, read_csv
from workbench.runtime import gpus, peak_gpu_memory, peak_memory
from workbench.training.loop import batches, validation_batches
from workbench.training.progressive_resizing import plan_stages
from workbench.training.training_model import select_image_size

_STEPS, _SECONDS = 8, 2.0  # steps of training that are measured: as many, or as many as fit into the time
_SPARE = 0.05  # of a budget is left for what is not measured: saving, the report
_PAST = 20  # estimates that are looked back on
_SHORT = 5  # seconds


@dataclasses.dataclass(frozen=True)
class Pace:
    """How fast a training goes.

    Attributes:
        start: seconds before its first epoch, such as for tracing; gone by when they are known.
        of_size: side of the training images -> seconds of an epoch with its validation; that of the stored images last.
        config: of the training.
    """

    start: float
    of_size: dict
    config: object

    def seconds(self, epochs, first=0, last=None):
        """Seconds of the epochs from number `first` up to `last`, of a training of `epochs`."""
        total, begin, last = 0.0, 0, epochs if last is None else last
        for end, size in plan_stages(dataclasses.replace(self.config, epochs=epochs), max(self.of_size)):
            total += max(0, min(end, last) - max(begin, first)) * self.of_size[size]
            begin = end
        return total

    def epochs_within(self, seconds, spent):
        """The number of epochs that a training can have in a time, told on the screen.

        Args:
            seconds: the time in all.
            spent: seconds of it that are gone.

        Raises:
            UserError: not one epoch fits; says how long one takes.
        """
        left = (1 - _SPARE) * seconds - spent
        most = int(max(0.0, left) / min(self.of_size.values()))
        epochs = bisect.bisect_right(range(1, most + 1), left, key=self.seconds)
        if epochs < 1:
            one = self.seconds(1)
            least = (spent + one) / (1 - _SPARE)
            raise UserError(f"--budget {seconds:g}s: one epoch takes {one:.1f} s here; give at least {least + 1:.0f}s")
        each, gone = duration(self.seconds(epochs) / epochs), f"{duration(spent)} went into starting"
        console.print(f"{epochs:,} epochs of {each} fit into {duration(seconds)} ({gone})")
        return epochs


def measure(model, config, dataset):
    """The `Pace` of a training, from a few steps of the compiled model, which is left as it was.

    Args:
        model: compiled; what is traced here need not be traced again.
        config: has the fields of `TrainingConfig` and `RecipeConfig`, and `seed`.
        dataset: a `workbench.data.dataset.Dataset`.
    """
    begin = time.perf_counter()
    variables = [*model.variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    sizes = [size for _, size in plan_stages(config, dataset.images.shape[1])]
    of_size = {size: _epoch_seconds(model, config, dataset, size) for size in sizes}
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    return Pace(time.perf_counter() - begin, of_size, config)


def _epoch_seconds(model, config, dataset, image_size):
    """Seconds of an epoch with training images of some size, and its validation."""
    steps, at_once = steps_per_epoch(dataset, config.batch_size), model.steps_per_execution
    checks = int(validation_batches(config, dataset).cardinality())
    select_image_size(model, image_size)
    first = _fit(model, config, dataset, image_size, at_once, 1, epochs=2)  # the first one has the graphs traced
    count = min(steps, at_once * max(1, min(_STEPS // at_once, int(_SECONDS / first.training))))
    watch = _fit(model, config, dataset, image_size, count, min(count, checks))
    checked = -(-min(count, checks) // at_once) * at_once
    return watch.training * steps / count + watch.validating * checks / checked


def _fit(model, config, dataset, image_size, steps, checks, epochs=1):
    watch = _Stopwatch()
    model.fit(
        batches(config, dataset, image_size=image_size),
        validation_data=validation_batches(config, dataset).repeat(),
        steps_per_epoch=steps,
        validation_steps=checks,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[watch],
    )
    return watch


class _Stopwatch(keras.callbacks.Callback):
    """Seconds of the last epoch: `training` and `validating`."""

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_test_begin(self, logs=None):
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.training, self.validating = self._trained - self._start, time.perf_counter() - self._trained


def tell(kind, seconds, disk, each, memory=None):
    """Print what something will cost, before it starts.

    Args:
        kind: what it is, such as `cnn_scratch.train`; past estimates of the same kind are looked back on.
        seconds: estimated.
        disk: bytes that will be written.
        each: what the seconds are made of.
        memory: bytes; by default what this process, having done a few steps, has held.
    """
    memory = memory or peak_memory()
    gpu = f"{peak_gpu_memory() / 1e9:.1f} GB of the GPU's, " if gpus() else ""
    console.print(
        f"expected: {duration(seconds)} ({each}), {memory / 1e9:.1f} GB of memory, "
        f"{gpu}{disk / 1e6:,.1f} MB on disk{_past_errors(kind)}"
    )


def _past_errors(kind):
    """How long what was estimated before took, as a share of the estimate."""
    try:
        rows = [row for row in read_csv(_log()) if row["kind"] == kind]
        ratios = [float(row["actual"]) / float(row["estimated"]) for row in rows[-_PAST:]]
    except (OSError, KeyError, TypeError, ValueError, ZeroDivisionError):  # not to be read, or torn
        return ""
    if not ratios:
        return ""
    what = "estimate" if len(ratios) == 1 else f"{len(ratios)} estimates"
    return f"; the last {what} took {statistics.median(ratios):.2f}x as long as told"


def remember(kind, estimated, actual):
    """Note how long what was estimated took, in seconds, for later estimates of this kind on this machine.

    What is over at once is all start and end, and tells nothing of what is long.
    """
    if max(estimated, actual) < _SHORT:
        return
    with contextlib.suppress(OSError):  # a cache that cannot be written costs no result
        _log().parent.mkdir(parents=True, exist_ok=True)
        append_csv(_log(), {"kind": kind, "estimated": f"{estimated:.3f}", "actual": f"{actual:.3f}"})


def _log():
    return find_cache_dir() / "estimates.csv"
