"""The results of a sweep that may be running, read again and again: each time only what was added to trials.csv."""

import csv
import dataclasses
import io
from pathlib import Path

from workbench.errors import UserError
from workbench.sweep.results import SweepResults, add_rows, read_description


class LiveResults:
    """Reads the results of a sweep from its folder, and later what was added to them.

    Args:
        folder: of the sweep.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / "trials.csv"
        self._results: SweepResults | None = None  # of the rows that were read; it grows
        self._shown: SweepResults | None = None  # a copy of it
        self._file: tuple[int, int] | None = None  # (device, number) of the file that was read
        self._read = 0  # bytes
        self._header: list[str] = []

    def read(self) -> SweepResults:
        """Return the results as they are now; the same object as before if nothing but further trials came.

        Raises:
            UserError: `sweep.json` or `trials.csv` is damaged or has another format.
        """
        try:
            state = self._path.stat()
        except FileNotFoundError:
            self._results, self._file = None, None
            return read_description(self._folder)
        file = state.st_dev, state.st_ino
        if self._results is None or file != self._file or state.st_size < self._read:  # a new file replaced it
            self._results, self._file, self._read, self._header = read_description(self._folder), file, 0, []
            self._shown = None
        if state.st_size > self._read:
            self._read_added(self._results)
        if self._shown is None or len(self._shown) != len(self._results):
            scored, failed = list(self._results.scored), list(self._results.failed)
            self._shown = dataclasses.replace(self._results, scored=scored, failed=failed)
        return self._shown

    def _read_added(self, results: SweepResults) -> None:
        """Add the trials of the rows that are complete and were not read yet."""
        with open(self._path, "rb") as file:
            file.seek(self._read)
            added = file.read()
        added = added[: added.rfind(b"\n") + 1]
        if added.count(b'"') % 2:  # a reason of several lines is still being written
            return
        try:
            lines = csv.reader(io.StringIO(added.decode("utf-8"), newline=""))
            if not self._header and added:
                self._header = next(lines)
            width = len(self._header)
            whole = (line + [""] * (width - len(line)) for line in lines if line)
            rows = [dict(zip(self._header, line, strict=False)) for line in whole]
        except (UnicodeDecodeError, csv.Error):
            raise UserError(f"{self._path}: damaged, not a text file in CSV") from None
        add_rows(results, rows, self._path)
        self._read += len(added)
