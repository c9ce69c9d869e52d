"""Checkpoints of a training: what is saved after each epoch, and how a training is resumed from it."""

import math
import warnings
from pathlib import Path

import keras

from workbench.files import replace_file, write_csv
from workbench.keras_graph import build_uncompiled
from workbench.training.callbacks import Logs
from workbench.training.history import EpochLog, find_best_epoch, read_history
from workbench.training.saved_state import BEST, HISTORY, LAST, check_model_file, refuse_to_resume
from workbench.training.timeline import Timeline
from workbench.training.training_model import get_saved_model, restore_checkpoint


class SaveCheckpoints(keras.callbacks.Callback):
    """Callback that saves after each epoch what a resumed run needs.

    It writes history.csv, then the best epoch's model without its optimizer, and last.keras, the model with its
    optimizer, as the last file. Each file is written whole. At the end, history.csv says that a budget has been used.

    Args:
        folder: of the run.
        history: the list to which each finished epoch is appended before this callback is called.
        best_name: file name of the best epoch's model.
        timeline: of the training.
    """

    def __init__(
        self, folder: Path, history: list[EpochLog], best_name: str = BEST, timeline: Timeline | None = None
    ) -> None:
        super().__init__()
        self._folder, self._history, self._best_name, self._timeline = folder, history, best_name, timeline

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        write_csv(self._folder / HISTORY, self._history)
        model = get_saved_model(self.model)
        if find_best_epoch(self._history) is self._history[-1]:
            save_model(build_uncompiled(model), self._folder / self._best_name)
        save_model(model, self._folder / LAST)

    def on_train_end(self, logs: Logs = None) -> None:
        """Record the time that saving the last epoch took: with less, a resumed run would train a few more steps."""
        if self._timeline and self._timeline.is_over(len(self._history)):
            self._history[-1] |= self._timeline.describe()
            write_csv(self._folder / HISTORY, self._history)


def save_model(model: keras.Model, path: Path) -> None:
    """Save a model whole; one that is not compiled is saved without an optimizer."""
    with replace_file(path, _count_bytes(model)) as temporary:
        model.save(temporary)


def _count_bytes(model: keras.Model) -> int:
    variables = [*model.variables, *(model.optimizer.variables if model.compiled else [])]
    return sum(4 * math.prod(variable.shape) for variable in variables)


def resume_training(
    model: keras.Model, folder: Path, steps_per_epoch: int, best_name: str, command: str
) -> list[EpochLog]:
    """Load the weights and the optimizer of the last saved epoch into a compiled model.

    Args:
        model: compiled.
        folder: of the run; `check_saved_state` has accepted it.
        steps_per_epoch: of the training.
        best_name: file name of the best epoch's model.
        command: that made the run.

    Returns:
        The history up to that epoch. last.keras says how many epochs these are, because it is written last; so a
        row that history.csv has beyond it is dropped.

    Raises:
        UserError: the files are damaged, or belong to different states of the run.
    """
    check_model_file(folder, best_name, command)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Skipping variable loading")  # the file has no or another optimizer
            restore_checkpoint(model, folder / LAST)
    except Exception as error:  # a damaged file can raise nearly any exception in the loader
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        refuse_to_resume(folder, LAST, f"damaged, or of another network ({reason})", command)
    iterations = int(model.optimizer.iterations.numpy())  # loss scaling may have skipped some steps
    epochs = math.ceil(iterations / steps_per_epoch)
    history = read_history(folder / HISTORY)
    if len(history) < epochs:
        refuse_to_resume(folder, HISTORY, f"has {len(history)} epochs, but {LAST} was saved after {epochs}", command)
    skips_steps = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    if len(history) > epochs + 1 and not skips_steps:
        refuse_to_resume(folder, LAST, f"was saved after epoch {epochs}, but {HISTORY} has {len(history)}", command)
    return history[:epochs]
