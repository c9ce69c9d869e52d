"""States in which trainings of a sweep stopped, so that the same point with more epochs continues from there."""

import dataclasses
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from workbench.files import replace_file
from workbench.training.history import EpochLog

STATES = "states"  # name of the folder in KerasTuner's project
MAX_BYTES = 1 << 30  # of all states of a sweep; the oldest are removed first


@dataclasses.dataclass(frozen=True)
class SavedState:
    """The state of a training after some epochs.

    Attributes:
        weights: of the model.
        optimizer: values of its optimizer's variables.
        best_weights: weights of the best epoch.
        history: the epochs.
        best_logits: of the validation images in the best epoch, float32 (n, num_classes); None if they were not kept.
    """

    weights: list[np.ndarray]
    optimizer: list[np.ndarray]
    best_weights: list[np.ndarray]
    history: list[EpochLog]
    best_logits: np.ndarray | None = None


class SavedStates:
    """Saved states of trainings on disk, shared by the workers of a sweep.

    Args:
        folder: holds one file for each.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, key: str, state: SavedState) -> None:
        """Keep the state of a training.

        Args:
            key: text that two trainings have in common if one continues the other.
            state: the state.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        groups = {"weights": state.weights, "optimizer": state.optimizer, "best": state.best_weights}
        groups["logits"] = [] if state.best_logits is None else [state.best_logits]
        flat: dict[str, Any] = {f"{name}-{i}": array for name, group in groups.items() for i, array in enumerate(group)}
        with replace_file(self._get_path(key, len(state.history))) as temporary:
            np.savez(temporary, rows=np.array(json.dumps(state.history)), **flat)
        self._make_room()

    def load(self, key: str, max_epochs: int) -> SavedState | None:
        """Return the furthest training of at most `max_epochs` epochs, or None."""
        for path in sorted(self._folder.glob(f"{_make_digest(key)}-*.npz"), reverse=True):
            if int(path.stem.rpartition("-")[2]) <= max_epochs:
                try:
                    with np.load(path, allow_pickle=False) as content:
                        return _read(content)
                except (OSError, ValueError, zipfile.BadZipFile):  # removed for others, or on a damaged disk
                    continue
        return None

    def drop(self, key: str) -> None:
        """Remove the states of a training that no trial will continue any more."""
        for path in self._folder.glob(f"{_make_digest(key)}-*.npz"):
            path.unlink(missing_ok=True)

    def _get_path(self, key: str, epochs: int) -> Path:
        return self._folder / f"{_make_digest(key)}-{epochs:06d}.npz"

    def _make_room(self) -> None:
        states = sorted(self._folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in states)
        for path in states[:-1]:
            if total <= MAX_BYTES:
                break
            total -= path.stat().st_size
            path.unlink(missing_ok=True)


def _make_digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:24]


def _read(content: np.lib.npyio.NpzFile) -> SavedState:
    groups: dict[str, list[np.ndarray]] = {"weights": [], "optimizer": [], "best": [], "logits": []}
    for name in content.files:
        if name != "rows":
            groups[name.rpartition("-")[0]].append(content[name])
    logits = groups["logits"][0] if groups["logits"] else None
    return SavedState(groups["weights"], groups["optimizer"], groups["best"], json.loads(str(content["rows"])), logits)
