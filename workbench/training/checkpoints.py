"""Checkpoints of a training: what is saved after each epoch, and how a training is resumed from it."""

import math
from pathlib import Path

import keras

from workbench.files import replace_file, write_csv
from workbench.keras_graph import build_uncompiled
from workbench.training.callbacks import Logs
from workbench.training.history import EpochLog, find_best_epoch, read_history
from workbench.training.training_model import get_saved_model, restore_checkpoint

BEST, LAST, HISTORY = "model.keras", "last.keras", "history.csv"


class SaveCheckpoints(keras.callbacks.Callback):
    """Callback that saves after each epoch what a resumed run needs.

    It writes history.csv, then the best epoch's model without its optimizer, and last.keras, the model with its
    optimizer, as the last file. Each file is written whole.

    Args:
        folder: of the run.
        history: the list to which each finished epoch is appended before this callback is called.
        best_name: file name of the best epoch's model.
    """

    def __init__(self, folder: Path, history: list[EpochLog], best_name: str = BEST) -> None:
        super().__init__()
        self._folder, self._history, self._best_name = folder, history, best_name

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        write_csv(self._folder / HISTORY, self._history)
        model = get_saved_model(self.model)
        if find_best_epoch(self._history) is self._history[-1]:
            save_model(build_uncompiled(model), self._folder / self._best_name)
        save_model(model, self._folder / LAST)


def save_model(model: keras.Model, path: Path) -> None:
    """Save a model whole; one that is not compiled is saved without an optimizer."""
    with replace_file(path) as temporary:
        model.save(temporary)


def has_checkpoint(folder: Path) -> bool:
    """Return whether a run folder holds the state of a training that can be resumed."""
    return (folder / LAST).exists()


def resume_training(model: keras.Model, folder: Path, steps_per_epoch: int) -> list[EpochLog]:
    """Load the weights and the optimizer of the last saved epoch into a compiled model.

    Returns:
        The history up to that epoch. last.keras says how many epochs these are, because it is written last; so a
        row that history.csv has beyond it is dropped.
    """
    restore_checkpoint(model, folder / LAST)
    epochs = math.ceil(int(model.optimizer.iterations) / steps_per_epoch)  # loss scaling may have skipped some steps
    return read_history(folder / HISTORY)[:epochs]
