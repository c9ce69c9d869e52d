"""The history of a training: one row an epoch, and which epoch was the best."""

from collections.abc import Sequence
from pathlib import Path

from workbench.files import read_csv

EpochLog = dict[str, float]
"""One epoch's values: epoch (from 1), loss, accuracy, val_loss, val_accuracy, learning_rate, seconds (validation
included) and images_per_second (training alone)."""


def find_best_epoch(history: Sequence[EpochLog]) -> EpochLog:
    """Return the epoch with the highest validation accuracy, and among equals the one with the lowest loss."""
    return max(history, key=lambda log: (log["val_accuracy"], -log["val_loss"]))


def has_stalled(history: Sequence[EpochLog], patience: int) -> bool:
    """Return whether the last `patience` epochs brought no better one; never with a patience of 0."""
    return bool(patience) and len(history) - history.index(find_best_epoch(history)) > patience


def read_history(path: str | Path) -> list[EpochLog]:
    """Read the history.csv of a run; an empty list where the file is missing."""
    return [{name: int(v) if name == "epoch" else float(v) for name, v in row.items()} for row in read_csv(path)]
