"""Where trainings of fewer epochs stopped, so that the same point with more epochs goes on from there."""

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np

from workbench.files import replace_file

MAX_BYTES = 1 << 30  # of all states of a sweep; the oldest give way


class StateStore:
    """States of trainings on disk, shared by the workers of a sweep.

    Args:
        folder: of the states.
    """

    def __init__(self, folder):
        self._folder = Path(folder)

    def save(self, key, epochs, arrays, rows):
        """Keep the state of a training after `epochs` epochs.

        Args:
            key: text that two trainings have in common if one continues the other.
            arrays: name -> list of arrays.
            rows: the epochs' rows, JSON values.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        flat = {f"{name}-{index}": array for name, group in arrays.items() for index, array in enumerate(group)}
        with replace_file(self._path(key, epochs)) as temporary:
            np.savez(temporary, rows=json.dumps(rows), **flat)
        self._make_room()

    def load(self, key, max_epochs):
        """(arrays, rows) of the furthest state of at most `max_epochs` epochs, or None."""
        for path in sorted(self._folder.glob(f"{_digest(key)}-*.npz"), reverse=True):
            if int(path.stem.rpartition("-")[2]) <= max_epochs:
                try:
                    with np.load(path, allow_pickle=False) as content:
                        return _grouped(content), json.loads(str(content["rows"]))
                except (OSError, ValueError, zipfile.BadZipFile):  # given way to others, or on a torn disk
                    continue
        return None

    def drop(self, key):
        """Forget the states of a training that nothing will continue any more."""
        for path in self._folder.glob(f"{_digest(key)}-*.npz"):
            path.unlink(missing_ok=True)

    def _path(self, key, epochs):
        return self._folder / f"{_digest(key)}-{epochs:06d}.npz"

    def _make_room(self):
        states = sorted(self._folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in states)
        for path in states[:-1]:
            if total <= MAX_BYTES:
                break
            total -= path.stat().st_size
            path.unlink(missing_ok=True)


def _digest(key):
    return hashlib.sha256(key.encode()).hexdigest()[:24]


def _grouped(content):
    groups = {}
    for name in content.files:
        if name != "rows":
            groups.setdefault(name.rpartition("-")[0], []).append(content[name])
    return groups
