"""The runs and sweeps of a folder, finished or running, as the pages show them. Broken ones are listed with the reason.

Nothing here loads TensorFlow or NiceGUI. A file is read again only when it has changed.
"""

import dataclasses
import math
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from workbench.app.processes import Holder, find_holder
from workbench.errors import UserError
from workbench.files import read_json
from workbench.finished_run import FinishedRun
from workbench.saved_metrics import find_damage, is_of_finished_training
from workbench.sweep.live_results import LiveResults
from workbench.sweep.results import SweepResults
from workbench.sweep.status import STATUS, SweepStatus, read_status
from workbench.training.fold_scores import FOLDS, FoldsSummary, read_folds
from workbench.training.history import EpochLog, find_best_epoch, read_history
from workbench.training.saved_state import is_trained
from workbench.wording import format_count

State = Literal["running", "finished", "stopped", "damaged"]
_WRITTEN_FIRST = ("config.yaml", "classes.json")  # once the data has been read
_FIRST_FOLD = "fold-1/classes.json"  # a cross-validation has its own only at the end
_FILES = (
    *(*_WRITTEN_FIRST, "metrics.json", "history.csv", "sweep.json", "trials.csv", STATUS, "best.yaml"),
    *(FOLDS, _FIRST_FOLD),
)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times as fast


@dataclasses.dataclass(frozen=True)
class Entry:
    """A run, a sweep or a cross-validation.

    Attributes:
        name: of its folder.
        path: the folder.
        is_sweep: whether it is a sweep.
        state: what is known of it; `damaged` if a file is missing or cannot be read.
        problem: what is damaged.
        config: content of config.yaml.
        class_names: in the order of the labels.
        metrics: content of metrics.json; of a sweep those of the best trial.
        history: the epochs of a training.
        results: the trials of a sweep.
        status: what a sweep does, or did when it ended.
        folds: the result of a cross-validation that is finished.
        folds_done: how many of its folds are trained.
        has_old_test: whether the model has changed since the test in `metrics`.
        holder: the process that trains or sweeps.
        changed: Unix time of the last change.
    """

    name: str
    path: Path
    is_sweep: bool = False
    state: State = "damaged"
    problem: str = ""
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    class_names: list[str] = dataclasses.field(default_factory=list)
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    history: list[EpochLog] = dataclasses.field(default_factory=list)
    results: SweepResults | None = None
    status: SweepStatus | None = None
    folds: FoldsSummary | None = None
    folds_done: int = 0
    has_old_test: bool = False
    holder: Holder | None = None
    changed: float = 0.0

    @property
    def data(self) -> str:
        """The value of `--data`; an empty text if it is not known."""
        return str(self.config.get("data", ""))

    @property
    def data_name(self) -> str:
        """Short name of the data: the last part of a path."""
        return Path(self.data).name if self.data else ""

    @property
    def has_model(self) -> bool:
        """Whether its model can be used."""
        return self.state != "damaged" and (self.path / "model.keras").is_file()

    @property
    def num_folds(self) -> int:
        """Number of folds of a cross-validation; 0 of anything else."""
        folds = self.config.get("folds")
        return folds if isinstance(folds, int) and not self.is_sweep else 0

    @property
    def is_starting(self) -> bool:
        """Whether its command reads the data now, and has not written its files yet."""
        return self.holder is not None and not self.class_names and not self.problem

    @property
    def accuracy(self) -> float | None:
        """Best validation accuracy so far."""
        if self.num_folds:
            return self.folds["val_accuracy"] if self.folds else None
        if self.results:
            return self.results.best.val_accuracy if self.results.best else None
        return find_best_epoch(self.history)["val_accuracy"] if self.history else self.metrics.get("val_accuracy")

    @property
    def test_accuracy(self) -> float | None:
        """Accuracy on the held-out test images, of an earlier model if `has_old_test`."""
        test = self.metrics.get("test")
        return test["accuracy"] if test else None

    @property
    def device(self) -> str:
        """What it computes on, empty if not known."""
        known = self.holder.device if self.holder and self.holder.device else self.metrics.get("device")
        return str(known or "")

    @property
    def progress(self) -> str:
        """How far it is: `3 of 10 epochs`, `12 of 16 trials`, `2 of 5 folds`."""
        if self.results is not None:
            done = len(self.results)
            total = self.status.total if self.status else None
            return f"{done:,} of {format_count(total, 'trial')}" if total else format_count(done, "trial")
        if self.num_folds and not self.is_starting:
            return f"{self.folds_done} of {format_count(self.num_folds, 'fold')}"
        done, epochs = len(self.history), self.config.get("epochs")
        if not done and not self.config:
            return "reading the data" if self.is_starting else ""
        if isinstance(epochs, int) and not self.config.get("budget") and self.state != "finished":
            return f"{done} of {format_count(epochs, 'epoch')}"
        return format_count(done, "epoch")

    @property
    def seconds_left(self) -> float | None:
        """Estimated; None if it does not run or if nothing is known yet."""
        if self.state != "running":
            return None
        if self.status:
            left = self.status.seconds_left
            return None if left is None else max(0.0, left - (time.time() - self.status.updated))
        if not self.history:
            return None
        spent, share = sum(log["seconds"] for log in self.history), self.history[-1].get("progress")
        if share:
            return spent * max(0.0, 1 - share) / share
        epochs = self.config.get("epochs")
        if not isinstance(epochs, int):
            return None
        return spent / len(self.history) * max(0, epochs - len(self.history))


class Catalogue:
    """Reads the folder of all runs. Its methods may be called from several threads.

    Args:
        folder: holds one folder for each run or sweep.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._read: dict[str, tuple[tuple[float, ...], Entry]] = {}  # name -> (times of its files, what they hold)
        self._live: dict[str, LiveResults] = {}

    def list_entries(self) -> list[Entry]:
        """Return all runs and sweeps, those that were changed last first. Other folders are left out."""
        entries = (self._read_entry(name) for name in self._list_names())
        found = [entry for entry in entries if entry]
        return sorted(found, key=lambda entry: (entry.state != "running", -entry.changed, entry.name))

    def find(self, name: str) -> Entry | None:
        """Return the run or sweep of this name; None if there is none. Only what is directly in `folder` is found."""
        return self._read_entry(name) if name in self._list_names() else None

    def _list_names(self) -> set[str]:
        """Return the names of the folders. Hidden ones are left out, and so are links that lead out of `folder`."""
        try:
            with os.scandir(self.folder) as found:
                entries = [entry for entry in found if not entry.name.startswith(".") and entry.is_dir()]
        except OSError:
            return set()
        root = self.folder.resolve()
        return {
            entry.name for entry in entries if not entry.is_symlink() or Path(entry.path).resolve().is_relative_to(root)
        }

    def _read_entry(self, name: str) -> Entry | None:
        """Read a folder; None if it holds nothing of a run."""
        path = self.folder / name
        times = tuple(_get_time(os.path.join(path, file)) for file in _FILES)
        holder = find_holder(path)
        if not any(times) and holder is None:
            return None
        with self._lock:
            before = self._read.get(name)
            if before is None or before[0] != times:
                before = self._read[name] = times, self._read_files(name, path)
        entry = dataclasses.replace(before[1], holder=holder, changed=max(times))
        if entry.num_folds:
            written = [*path.glob("fold-*/metrics.json")]
            done = entry.num_folds if entry.folds else sum(_is_fold_trained(file.parent) for file in written)
            changed = max(entry.changed, *(_get_time(str(file)) for file in written), 0.0)
            entry = dataclasses.replace(entry, folds_done=done, changed=changed)
        entry = dataclasses.replace(entry, has_old_test=_has_old_test(entry))
        if holder and not all(times[: len(_WRITTEN_FIRST)]):
            entry = dataclasses.replace(entry, problem="")
        return dataclasses.replace(entry, state=_judge(entry))

    def _read_files(self, name: str, path: Path) -> Entry:
        """Read the files of a folder. Whatever is wrong with them becomes the entry's `problem`."""
        entry = Entry(name, path, is_sweep=(path / "sweep.json").exists())
        try:
            config = _read_config(path)
            entry = dataclasses.replace(entry, config=config)
            if entry.num_folds:
                where = path if (path / FOLDS).exists() else path / "fold-1"
                class_names = _read_class_names(where) if (where / "classes.json").exists() else []
                return dataclasses.replace(entry, class_names=class_names, folds=read_folds(path))
            class_names, metrics = _read_class_names(path), _read_metrics(path)
            entry = dataclasses.replace(entry, class_names=class_names, metrics=metrics)
            if entry.is_sweep:
                live = self._live.setdefault(name, LiveResults(path))
                return dataclasses.replace(entry, results=live.read(), status=read_status(path))
            return dataclasses.replace(entry, history=read_history(path / "history.csv"))
        except (UserError, ValueError) as error:
            return dataclasses.replace(entry, problem=str(error).removeprefix(f"{path}{os.sep}"))
        except Exception as error:  # a folder that nobody has foreseen must not keep the others from being shown
            return dataclasses.replace(entry, problem=f"cannot be read ({type(error).__name__}: {error})"[:300])


def _judge(entry: Entry) -> State:
    """Return the state of an entry whose files are read."""
    if entry.holder:
        return "running"
    if entry.problem:
        return "damaged"
    if entry.results is not None:
        return _judge_sweep(entry.results, entry.status, entry.metrics)
    if entry.num_folds:
        return "finished" if entry.folds else "stopped"
    return "finished" if is_of_finished_training(entry.metrics, len(entry.history)) else "stopped"


def _has_old_test(entry: Entry) -> bool:
    """Return whether the model of a run has changed since its test; False if it has none, or cannot be read."""
    test = entry.metrics.get("test")
    if not test:
        return False
    try:
        return FinishedRun(entry.path, dict(entry.config), entry.class_names).has_changed_since(test)
    except OSError:
        return False


def _is_fold_trained(fold: Path) -> bool:
    """Return whether the training of a fold has finished; False if it cannot be read."""
    try:
        return is_trained(fold)
    except (UserError, OSError):
        return False


def _judge_sweep(results: SweepResults, status: SweepStatus | None, metrics: Mapping[str, Any]) -> State:
    """Return the state of a sweep that does not run: it has finished if its search has ended and its best is saved."""
    total = status.total if status else 0  # a sweep of an earlier version has no status
    has_ended = bool(status and status.ended) or (bool(metrics) and len(results) >= total)
    is_saved = metrics.get("trials", 0) == len(results) or results.best is None
    return "finished" if has_ended and is_saved else "stopped"


def _get_time(path: str) -> float:
    """Return when a file was changed; 0 if there is none."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _read_config(path: Path) -> dict[str, Any]:
    try:
        with open(path / "config.yaml", encoding="utf-8") as file:
            config = yaml.load(file, _LOADER)
    except FileNotFoundError:
        raise UserError("config.yaml is missing") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError):
        raise UserError("config.yaml cannot be read") from None
    if not isinstance(config, dict):
        raise UserError("config.yaml does not hold options")
    return config


def _read_class_names(path: Path) -> list[str]:
    names = read_json(path / "classes.json")
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise UserError("classes.json is missing or damaged")
    return names


def _read_metrics(path: Path) -> dict[str, Any]:
    if not (path / "metrics.json").exists():
        return {}
    metrics = read_json(path / "metrics.json")
    if not isinstance(metrics, dict):
        raise UserError("metrics.json is damaged")
    damage = find_damage(metrics)
    if damage:
        raise UserError(f"metrics.json is damaged ({damage})")
    accuracy = metrics.get("val_accuracy")
    if isinstance(accuracy, float) and not math.isfinite(accuracy):
        raise UserError("metrics.json is damaged (val_accuracy is not a number)")
    return metrics
