"""The outcomes of a sweep as they are read: what each trial predicts for each validation image."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from workbench.errors import UserError
from workbench.files import read_json
from workbench.sweep.outcomes.outcome import compute_checksum
from workbench.sweep.outcomes.outcome_store import (
    FOLDER,
    list_validation_images,
    map_rows,
    read_format,
    read_index,
)

_CHUNK = 256  # trials whose rows are looked at together


@dataclasses.dataclass(frozen=True)
class SweepOutcomes:
    """What the trials of a sweep predict for its validation images.

    Attributes:
        trials: ids of the trials.
        names: names of the images, in the order of the sweep's split.
        labels: their true classes, int64 (n,).
        class_names: in the order of the labels.
        rows: the row of each trial in `values`, int64 (num_trials,).
        values: mapped from disk. Of the kind `all`: probabilities, float16 (rows, n, num_classes). Of the kind
            `true-class`: the probability of the true class, negative where another class is more probable (rows, n).
    """

    trials: Sequence[str]
    names: Sequence[str]
    labels: np.ndarray
    class_names: Sequence[str]
    rows: np.ndarray
    values: np.ndarray

    @property
    def has_all_classes(self) -> bool:
        """Whether the probabilities of all classes are known."""
        return self.values.ndim == 3

    def select(self, trials: Sequence[str]) -> "SweepOutcomes":
        """Return the outcomes of some of the trials, in this order; those without an outcome are left out."""
        place = {trial: index for index, trial in enumerate(self.trials)}
        found = [trial for trial in trials if trial in place]
        return dataclasses.replace(self, trials=found, rows=self.rows[[place[trial] for trial in found]])

    def get_probabilities(self, trial: str) -> np.ndarray:
        """Return the probabilities of one trial, float32 (n, num_classes).

        Raises:
            ValueError: only those of the true classes were kept.
        """
        if not self.has_all_classes:
            raise ValueError("only the probabilities of the true classes were kept")
        return np.asarray(self.values[self.rows[self.trials.index(trial)]], np.float32)

    def compute_correct(self) -> np.ndarray:
        """Return for each trial and image whether the most probable class is the true one, bool (num_trials, n)."""
        return np.concatenate([np.zeros((0, len(self.labels)), bool), *map(self._judge, self._read_chunks())])

    def compute_true_probabilities(self) -> np.ndarray:
        """Return for each trial and image the probability of the true class, float32 (num_trials, n)."""
        parts = map(self._take_true_class, self._read_chunks())
        return np.concatenate([np.zeros((0, len(self.labels)), np.float32), *parts])

    def _read_chunks(self) -> Iterator[np.ndarray]:
        for first in range(0, len(self.rows), _CHUNK):
            yield self.values[self.rows[first : first + _CHUNK]]

    def _judge(self, values: np.ndarray) -> np.ndarray:
        return values.argmax(axis=2) == self.labels if self.has_all_classes else ~np.signbit(values)

    def _take_true_class(self, values: np.ndarray) -> np.ndarray:
        return values[:, np.arange(len(self.labels)), self.labels] if self.has_all_classes else np.abs(values)


def read_outcomes(sweep: Path) -> SweepOutcomes | None:
    """Read the outcomes of a sweep that may still be running; None if it keeps none, or no trial has finished.

    Raises:
        UserError: the files do not fit the sweep's split.
    """
    folder = sweep / FOLDER
    row_format = read_format(folder)
    if row_format is None:
        return None
    values = map_rows(folder, row_format)
    lines = [line for line in read_index(folder) if line.row < len(values)]
    lines = [line for line in lines if compute_checksum(values[line.row]) == line.checksum]
    images, class_names = list_validation_images(sweep), read_json(sweep / "classes.json") or []
    if (len(images), len(class_names)) != (row_format.images, row_format.classes):
        raise UserError(f"{folder}: does not fit {sweep / 'split.csv'}; restore both, or remove {folder}")
    number = {name: label for label, name in enumerate(class_names)}
    unknown = sorted({image.class_name for image in images} - number.keys())
    if unknown:
        raise UserError(
            f"{sweep / 'classes.json'}: has no class {unknown[0]!r}, which {sweep / 'split.csv'} has; restore both"
        )
    if not lines:
        return None
    return SweepOutcomes(
        trials=[line.trial for line in lines],
        names=[image.name for image in images],
        labels=np.array([number[image.class_name] for image in images], np.int64),
        class_names=class_names,
        rows=np.array([line.row for line in lines], np.int64),
        values=values,
    )
