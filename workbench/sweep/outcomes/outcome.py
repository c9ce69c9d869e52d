"""The outcome of one trial: its predictions for the validation images, in 16 bits, and the file that a worker writes.

The images are in the order of the sweep's split.csv. An outcome of the kind `all` holds all probabilities, float16
(n, num_classes). One of the kind `true-class` holds the probability of each image's true class, float16 (n,), with a
minus sign where another class was more probable.
"""

import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from workbench.evaluation.probabilities import softmax
from workbench.files import replace_file

OutcomeKind = Literal["all", "true-class", "none"]
FILE = "outcome.npy"  # in the folder of a trial, until it is moved to those of all trials
CHECKSUM = "outcome_crc32"  # name of the result that says which outcome belongs to the trial
DTYPE = np.dtype("<f2")


def make_outcome(logits: np.ndarray, labels: np.ndarray, kind: OutcomeKind) -> np.ndarray:
    """Return the outcome of a trial.

    Args:
        logits: of the validation images, (n, num_classes).
        labels: their true classes, (n,).
        kind: `all` or `true-class`.
    """
    probabilities = softmax(logits)
    predicted = probabilities.argmax(axis=1)
    if kind == "all":
        return _round(probabilities, predicted)
    true_class = probabilities[np.arange(len(labels)), labels].astype(DTYPE)
    return np.where(predicted == labels, true_class, -true_class)


def _round(probabilities: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return probabilities in 16 bits. The most probable class stays the most probable one."""
    rounded, rows = probabilities.astype(DTYPE), np.arange(len(predicted))
    tied = rounded.argmax(axis=1) != predicted
    rounded[rows[tied], predicted[tied]] = np.nextafter(rounded[rows[tied], predicted[tied]], DTYPE.type(2))
    return rounded


def save_outcome(folder: Path, outcome: np.ndarray) -> int:
    """Write an outcome into the folder of a trial, as a whole or not at all, and return its checksum."""
    with replace_file(folder / FILE, outcome.nbytes) as temporary:
        np.save(temporary, outcome)
    return compute_checksum(outcome)


def load_outcome(folder: Path) -> np.ndarray | None:
    """Read the outcome in the folder of a trial; None if there is none, or if it is damaged."""
    try:
        return np.load(folder / FILE, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None


def compute_checksum(outcome: np.ndarray) -> int:
    """Return the CRC-32 of an outcome."""
    return zlib.crc32(np.ascontiguousarray(outcome).tobytes())
