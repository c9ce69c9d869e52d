"""The training loop: how a network is trained in a run folder, from the resumed state to the saved result."""

import contextlib
import dataclasses
import math
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from workbench.commandline.calls import format_call
from workbench.config import TrainingConfig, TrainingRunConfig, flatten, replace
from workbench.console import format_duration
from workbench.data.dataset import Dataset
from workbench.data.pipeline import count_steps
from workbench.devices.device import describe_device
from workbench.errors import UserError
from workbench.failures import describe_full_disk
from workbench.files import format_bytes, read_csv
from workbench.keras_graph import build_uncompiled
from workbench.runtime import is_multi_worker
from workbench.signals import delay_interrupts
from workbench.training.batches import feed, make_training_batches, make_validation_batches
from workbench.training.callbacks import (
    AverageWeights,
    CheckInterrupts,
    KeepBestWeights,
    Listener,
    RecordHistory,
    SeedEpochs,
    ShowProgress,
    StopOnDivergence,
    UnfreezeStages,
    UpdateSavedModel,
    open_training_bar,
)
from workbench.training.checkpoints import SaveCheckpoints, resume_training, save_model
from workbench.training.estimates import print_estimate, record_estimate
from workbench.training.history import EpochLog, has_stalled
from workbench.training.pace import measure_pace
from workbench.training.run_folder import RunFolder
from workbench.training.run_results import (
    leave_missing_report,
    print_result,
    write_metrics,
    write_probabilities,
)
from workbench.training.saved_state import BEST, BEST_PART, HISTORY, has_checkpoint, has_metrics
from workbench.training.schedule import LearningRateSchedule
from workbench.training.timeline import (
    ChangeStage,
    ClockTimeline,
    EpochTimeline,
    FollowClock,
    Timeline,
    has_used_budget,
    make_timeline,
)
from workbench.training.tracking import log_to_tensorboard, log_to_wandb
from workbench.training.training_model import TrainingModel, get_saved_model, select_image_size
from workbench.wording import agree, format_count

_PAGE_BYTES = 400_000  # of a run's page, figures, logs and other small files


class Config(Protocol):
    """The configuration of a command that trains one network."""

    @property
    def training(self) -> TrainingConfig: ...

    @property
    def run(self) -> TrainingRunConfig: ...


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What `fit` returns.

    Attributes:
        history: all epochs, also those that were done before the call.
        best_weights: `get_weights()` of the best epoch; None if the best epoch was trained before this call and
            `best_weights` was not passed.
    """

    history: list[EpochLog]
    best_weights: list[np.ndarray] | None


def train_network(
    folder: RunFolder,
    config: Config,
    model: keras.Model,
    dataset: Dataset,
    *,
    command: str,
    facts: Mapping[str, Any],
    whole_network: keras.Model | None = None,
) -> None:
    """Train a compiled model in a run folder, and leave there what evaluates, explains, predicts or resumes it.

    Every validation accuracy is that of the model that is saved, so the best epoch is the one whose saved model is the
    best: a model that is trained in 16 bits is validated in float32 (see `TrainingModel`), and one that is trained on
    stored features is validated on exact ones (see `Dataset.validation_images`).

    Nothing in the folder changes before the speed has been measured and the training begins, so a run that is to be
    overwritten is kept until then.

    Args:
        folder: locked by the caller.
        config: resolved; it is written into the folder.
        model: compiled, with its initial weights.
        dataset: what the model is trained on.
        command: the module that was called, such as `cnn_scratch.train`.
        facts: name -> further values for metrics.json, such as the number of parameters.
        whole_network: the network of which `model` is only the part behind stored features. `model` and
            `whole_network` share layers, so training `model` also trains `whole_network`.

    Raises:
        UserError: all epochs are done, the budget is too short, the files to resume from are damaged, the disk has no
            room, or the loss became NaN.
    """
    # Ctrl-C is handled from the inside out: `_write_run` removes the run if no epoch is saved (after any other error
    # too), `explain_interrupt` says what is kept, `RunFolder.lock` of the caller removes folders that are empty, and
    # `workbench/cli.py` prints the message.
    call_start = time.perf_counter()
    training, run = config.training, config.run
    device = describe_device(training.strategy)
    folder.describe_holder(device=device)
    steps = count_steps(dataset, training.batch_size)
    best_name = BEST_PART if whole_network else BEST
    with explain_interrupt(folder, command):
        resumed = bool(run.resume) and has_checkpoint(folder.path)
        history = resume_training(model, folder.path, steps, best_name, command) if resumed else []
        done, is_over = len(history), _is_over(history, training)
        if is_over and has_metrics(folder.path, history):
            leave_missing_report(folder.path, history, training, run.logs_dir)
            return
        timeline = None if is_over else make_timeline(training, history, dataset.images.shape[1], steps)
        is_measured = not (training.budget or is_over or is_multi_worker())  # processes would measure different speeds
        disk = _count_bytes(model, whole_network)
        check_room(folder, disk)
        pace = measure_pace(model, dataset, training) if is_measured else None
        if pace:
            expected = pace.seconds(training.epochs, done)
            each = f"{format_duration(expected / (training.epochs - done))} an epoch"
            print_estimate(command, expected, disk, each)

        resolved = replace(config, name=folder.path.name)
        with _write_run(folder, resolved, dataset):
            fit_start = time.perf_counter()
            with (
                log_to_tensorboard(folder.logs) as tensorboard,
                log_to_wandb(run.wandb, flatten(resolved), folder.path, name=folder.path.name) as wandb,
                open_training_bar() as bar,
            ):
                listeners = [tensorboard, wandb]
                if timeline:
                    callbacks = [
                        SaveCheckpoints(folder.path, history, best_name, timeline),
                        ShowProgress(bar, history, timeline, training.epochs, steps, len(dataset.train)),
                    ]
                    fit(model, dataset, training, timeline, history=history, listeners=listeners, callbacks=callbacks)
            if pace:
                seconds = pace.seconds(training.epochs, done, len(history))
                record_estimate(command, seconds, time.perf_counter() - fit_start)
            if whole_network:
                build_uncompiled(get_saved_model(model)).load_weights(folder.path / best_name)
                save_model(whole_network, folder.path / BEST)
            if dataset.fold:
                write_probabilities(folder.path, _predict_validation(model, folder.path / best_name, dataset, training))
    facts = {"train_module": command, "device": device, **facts}
    write_metrics(folder.path, history, facts, time.perf_counter() - call_start)
    if not dataset.fold:  # the report is that of all folds
        print_result(folder.path, history, run.logs_dir)


def _predict_validation(model: keras.Model, best: Path, dataset: Dataset, training: TrainingConfig) -> np.ndarray:
    """Return the logits of the best epoch for the validation images, float32 (n, num_classes)."""
    saved = build_uncompiled(get_saved_model(model))
    saved.jit_compile = False  # as in `FinishedRun.model`
    saved.load_weights(best)
    return np.concatenate([saved.predict_on_batch(batch[0]) for batch in make_validation_batches(dataset, training)])


def fit(
    model: keras.Model,
    dataset: Dataset,
    training: TrainingConfig,
    timeline: Timeline | None = None,
    *,
    history: list[EpochLog] | None = None,
    best_weights: list[np.ndarray] | None = None,
    listeners: Sequence[Listener] = (),
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> FitResult:
    """Train a compiled model for the epochs that remain.

    Args:
        model: maps uint8 images (or stored features) to logits.
        timeline: how far the training is; by default it ends after `training.epochs`.
        history: the epochs that are done; each finished epoch is appended to this list.
        best_weights: of the best epoch among those that are done.
        listeners: called with each finished epoch; one that returns True ends the training there.
        callbacks: further Keras callbacks; they are called after the listeners.

    Raises:
        Diverged: the loss became NaN or infinite.
        KeyboardInterrupt: Ctrl-C, or SIGTERM in a command; it is raised before the next batch.
    """
    history = [] if history is None else history
    steps = count_steps(dataset, training.batch_size)
    timeline = timeline or EpochTimeline(training, dataset.images.shape[1])
    listeners = [*listeners, lambda log: has_stalled(history, training.patience)]
    keep_best = KeepBestWeights(history, best_weights)
    # The order matters: RecordHistory appends the epoch to the history, and the callbacks after it read history[-1].
    callbacks = [
        SeedEpochs(training.seed),
        LearningRateSchedule(training, steps, timeline),
        StopOnDivergence(training.learning_rate),
        *([AverageWeights()] if training.ema else []),
        UpdateSavedModel(),  # after AverageWeights, whose averages are what is saved
        RecordHistory(
            history,
            timeline,
            len(dataset.train) / steps,
            listeners,
        ),
        keep_best,
        *callbacks,
    ]
    if isinstance(model, TrainingModel) and model.unfreezing:
        callbacks.append(UnfreezeStages(model.unfreezing, timeline, steps))
    if isinstance(timeline, ClockTimeline):
        enlarged = dataset.images.shape[1] / timeline.choose_image_size(len(history))
        callbacks.append(FollowClock(timeline, enlarged**2 * len(dataset.validation) / len(dataset.train), steps))
    has_more = not timeline.is_over(len(history))
    while has_more:
        done = len(history)
        image_size = timeline.choose_image_size(done)
        stage = ChangeStage(timeline, image_size)
        select_image_size(model, image_size)
        training_batches = make_training_batches(dataset, training, first_epoch=done, image_size=image_size)
        with feed(model, training_batches) as batches, delay_interrupts() as check:
            model.fit(
                batches,
                validation_data=make_validation_batches(dataset, training),
                steps_per_epoch=steps,
                initial_epoch=done,
                epochs=sys.maxsize,  # the callbacks end it
                shuffle=False,  # the pipeline has shuffled
                verbose=0,
                callbacks=[CheckInterrupts(check), *callbacks, stage],
            )
        has_more = stage.has_ended and not timeline.is_over(len(history))
    return FitResult(history, keep_best.weights)


def check_room(folder: RunFolder, needed: int) -> None:
    """Refuse to begin what its disk has no room for. Files of the folder that are replaced count as room.

    Raises:
        UserError: says how much is needed and what to do.
    """
    replaced = sum(path.stat().st_size for path in folder.path.iterdir() if path.is_file())
    if needed > replaced + shutil.disk_usage(folder.path).free:
        advice = describe_full_disk(folder.path)
        raise UserError(f"{folder.path}: the run needs about {format_bytes(needed)} on its disk; {advice}")


@contextlib.contextmanager
def explain_interrupt(folder: RunFolder, command: str) -> Iterator[None]:
    """On Ctrl-C or SIGTERM, say how many epochs are kept and how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        if folder.holds_old_run:
            raise KeyboardInterrupt(f"stopped before the training began; {folder.path} is unchanged") from None
        if not has_checkpoint(folder.path):
            raise KeyboardInterrupt("stopped in the first epoch; nothing is kept") from None
        count = len(read_csv(folder.path / HISTORY))
        kept = f"{format_count(count, 'epoch')} {agree(count, 'is', 'are')} kept"
        resume = f"{format_call(command)} --resume {shlex.quote(str(folder.path))}"
        raise KeyboardInterrupt(f"stopped; {kept}. To continue:\n  {resume}") from None


def _is_over(history: Sequence[EpochLog], training: TrainingConfig) -> bool:
    """Return whether nothing is left to train; the training may have been killed before it left its results."""
    has_all_epochs = not training.budget and len(history) >= training.epochs
    return has_all_epochs or has_used_budget(training, history) or has_stalled(history, training.patience)


@contextlib.contextmanager
def _write_run(folder: RunFolder, config: Config, dataset: Dataset) -> Iterator[None]:
    """Write the run's first files. Remove the run if training ends with an error or Ctrl-C before an epoch is saved."""
    if config.run.overwrite:
        folder.clear()
    folder.write_dataset(dataset, is_new=not config.run.resume)
    folder.write_config(config)
    try:
        yield
    except BaseException:
        if not (config.run.resume or has_checkpoint(folder.path)):
            folder.remove()
        raise


def _count_bytes(model: keras.Model, whole_network: keras.Model | None) -> int:
    """Estimate what a run writes: the best and the last model, the optimizer, the whole network, small files."""

    def size(variables: Sequence[keras.Variable]) -> int:
        return sum(4 * math.prod(variable.shape) for variable in variables)

    of_network = size(whole_network.variables) if whole_network else 0
    return _PAGE_BYTES + 2 * size(model.variables) + size(model.optimizer.variables) + of_network
