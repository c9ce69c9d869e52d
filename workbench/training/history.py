"""The history of a training: one row an epoch, and which epoch was the best."""

import math
from collections.abc import Sequence
from pathlib import Path

from workbench.errors import UserError
from workbench.files import read_csv

EpochLog = dict[str, float]
"""One epoch's values: epoch (from 1), loss, accuracy, val_loss, val_accuracy, learning_rate, seconds (validation
included) and images_per_second (training alone); with a budget progress, the share of it that has passed."""


_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds", "images_per_second")


def find_best_epoch(history: Sequence[EpochLog]) -> EpochLog:
    """Return the epoch with the highest validation accuracy, and among equals the one with the lowest loss."""
    return max(history, key=lambda log: (log["val_accuracy"], -log["val_loss"]))


def has_stalled(history: Sequence[EpochLog], patience: int) -> bool:
    """Return whether the last `patience` epochs brought no better one; never with a patience of 0."""
    return bool(patience and history) and len(history) - history.index(find_best_epoch(history)) > patience


def read_history(path: str | Path) -> list[EpochLog]:
    """Read the history.csv of a run; an empty list where the file is missing.

    Raises:
        ValueError: it is not a table of the epochs 1, 2, 3, ... with their values; says where it is damaged.
    """
    history: list[EpochLog] = []
    try:
        rows = read_csv(path)
    except UserError as error:
        raise ValueError("not a text file") from error
    for number, row in enumerate(rows, 1):
        try:
            values = {name: int(value) if name == "epoch" else float(value) for name, value in row.items()}
        except (TypeError, ValueError) as error:
            raise ValueError(f"line {number + 1} is not a row of numbers") from error
        missing = [name for name in _COLUMNS if name not in values]
        if missing:
            raise ValueError(f"the column {missing[0]} is missing")
        if values["epoch"] != number or not all(map(math.isfinite, values.values())):
            raise ValueError(f"line {number + 1} is not epoch {number}")
        history.append(values)
    return history
