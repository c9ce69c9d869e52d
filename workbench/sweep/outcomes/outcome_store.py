"""The outcomes of all trials of a sweep, in one array on disk that grows with each finished trial.

The folder `outcomes` of the sweep holds `outcomes.json` (the kind and the size of a row), `rows.f16` (the rows, back to
back) and `index.csv` (the row of each trial, and its checksum). A worker leaves the outcome in its trial's folder. Only
the command, which records the trials, moves it to the array, after the trial was recorded: it writes the row, then the
line of the index, and then removes the worker's file. So after a kill at any point the outcome is in at least one of
the two places, and a trial that is in the index is not added again. A row without a line is written over. A line counts
only where its checksum is that of the row and of the trial's record.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from workbench.data.source import VALIDATION
from workbench.data.splits.saved_split import SplitImage, read_split
from workbench.errors import UserError
from workbench.files import append_csv, read_csv, read_json, write_csv, write_json
from workbench.sweep.outcomes.outcome import CHECKSUM, DTYPE, FILE, OutcomeKind, compute_checksum, load_outcome
from workbench.sweep.scheduling.trial import Trial

FOLDER = "outcomes"
_DESCRIPTION, ROWS, INDEX = "outcomes.json", "rows.f16", "index.csv"


@dataclasses.dataclass(frozen=True)
class RowFormat:
    """What a row of the array holds.

    Attributes:
        kind: `all` or `true-class`.
        images: number of validation images.
        classes: number of classes.
    """

    kind: OutcomeKind
    images: int
    classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an outcome."""
        return (self.images, self.classes) if self.kind == "all" else (self.images,)

    @property
    def num_bytes(self) -> int:
        """Size of a row."""
        return math.prod(self.shape) * DTYPE.itemsize


@dataclasses.dataclass(frozen=True)
class IndexLine:
    """A line of the index: the row of a trial and its checksum."""

    trial: str
    row: int
    checksum: int


class OutcomeStore:
    """Adds the outcomes of finished trials to the array; one process does so at a time.

    Args:
        sweep: folder of the sweep.
        kind: `all` or `true-class`.
        trial_dir: function of a trial's id that returns the folder in which its `outcome.npy` is.

    Raises:
        UserError: the sweep has outcomes of another kind or of other data already, or its split is damaged.
    """

    def __init__(self, sweep: Path, kind: OutcomeKind, trial_dir: Callable[[str], Path]) -> None:
        self._folder, self._trial_dir = sweep / FOLDER, trial_dir
        self.format = RowFormat(kind, len(list_validation_images(sweep)), len(read_json(sweep / "classes.json") or []))
        before = read_format(self._folder)
        if before is not None and before.kind == kind and before != self.format:
            raise UserError(
                f"{self._folder}: holds outcomes for {before.images:,} images of {before.classes:,} classes, but "
                f"{sweep / 'split.csv'} and classes.json have {self.format.images:,} of {self.format.classes:,}; "
                f"restore these files, or remove {self._folder}"
            )
        if before is not None and before != self.format:
            raise UserError(
                f"--keep-outcomes {kind}: {self._folder} holds outcomes of the kind '{before.kind}' for "
                f"{before.images:,} images, and all trials of a sweep keep the same; give --keep-outcomes {before.kind}"
            )
        self._lines: dict[str, IndexLine] = {}
        self._next_row = 0

    def open(self, finished: Iterable[Trial]) -> None:
        """Prepare the array, and bring it up to date after a kill.

        Args:
            finished: the finished trials of the sweep.
        """
        self._folder.mkdir(exist_ok=True)
        write_json(self._folder / _DESCRIPTION, dataclasses.asdict(self.format))
        trials = {trial.id: trial for trial in finished}
        lines = read_index(self._folder)
        rows = map_rows(self._folder, self.format)
        for line in lines:
            trial = trials.get(line.trial)
            is_of_trial = trial is not None and trial.result.get(CHECKSUM) == line.checksum
            if is_of_trial and line.row < len(rows) and compute_checksum(rows[line.row]) == line.checksum:
                self._lines[line.trial] = line
        self._next_row = 1 + max((line.row for line in self._lines.values()), default=-1)
        write_csv(self._folder / INDEX, [dataclasses.asdict(line) for line in self._lines.values()])
        for trial in trials.values():
            self.add(trial)

    def add(self, trial: Trial) -> None:
        """Move the outcome of a trial that has been recorded to the array, unless it is there already."""
        folder = self._trial_dir(trial.id)
        if trial.id not in self._lines:
            outcome = load_outcome(folder)
            if outcome is None or outcome.shape != self.format.shape or outcome.dtype != DTYPE:
                return
            checksum = compute_checksum(outcome)
            if checksum != trial.result.get(CHECKSUM):  # such as of a trial that failed after it had written the file
                return
            line = IndexLine(trial.id, self._next_row, checksum)
            self._write_row(line.row, outcome)
            append_csv(self._folder / INDEX, dataclasses.asdict(line))
            self._lines[trial.id] = line
            self._next_row += 1
        (folder / FILE).unlink(missing_ok=True)

    def _write_row(self, row: int, outcome: np.ndarray) -> None:
        path = self._folder / ROWS
        with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            file.seek(row * self.format.num_bytes)
            file.write(outcome.tobytes())


def read_format(folder: Path) -> RowFormat | None:
    """Return what the rows in a folder of outcomes hold; None if there are none."""
    try:
        return RowFormat(**read_json(folder / _DESCRIPTION))
    except TypeError:  # missing or damaged
        return None


def read_index(folder: Path) -> list[IndexLine]:
    """Return the lines of an index that are complete, one for each trial."""
    lines: dict[str, IndexLine] = {}
    for entry in read_csv(folder / INDEX):
        try:
            line = IndexLine(entry["trial"], int(entry["row"]), int(entry["checksum"]))
        except (KeyError, TypeError, ValueError):  # the last line, which is still being written
            continue
        lines.setdefault(line.trial, line)
    return list(lines.values())


def map_rows(folder: Path, row_format: RowFormat) -> np.ndarray:
    """Return the array of all complete rows, float16 (rows, *row_format.shape), mapped from disk."""
    path = folder / ROWS
    count = path.stat().st_size // row_format.num_bytes if path.exists() else 0
    shape = (count, *row_format.shape)
    return np.memmap(path, DTYPE, "r", shape=shape) if count else np.zeros(shape, DTYPE)


def list_validation_images(sweep: Path) -> list[SplitImage]:
    """Return the validation images of a sweep, in the order of its split and of its outcomes.

    Raises:
        UserError: split.csv is damaged.
    """
    return [image for image in read_split(sweep) or [] if image.part == VALIDATION]
