"""The state of a running sweep in a file of its folder, for those who look at it from other processes and machines."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from workbench.background import repeat_in_background
from workbench.files import read_json, write_json
from workbench.sweep.results import Value

STATUS = "status.json"
INTERVAL = 2.0  # seconds between two looks at the sweep
_REFRESH = 20.0  # seconds after which the file is written although only the time has changed


@dataclasses.dataclass(frozen=True)
class RunningTrial:
    """A trial that a worker runs now.

    Attributes:
        worker: name of the worker.
        id: number of the trial, as text.
        values: hyperparameter -> value.
        epoch: the last finished epoch, None in the first one.
        val_accuracy: validation accuracy of that epoch.
    """

    worker: str
    id: str
    values: dict[str, Value]
    epoch: int | None = None
    val_accuracy: float | None = None


@dataclasses.dataclass(frozen=True)
class SweepStatus:
    """What a sweep does at a moment.

    Attributes:
        total: number of trials that it will hold.
        workers: number of workers; 0 where the command runs the trials itself.
        seconds_left: estimated; None if not known.
        running: the trials that workers run.
        updated: Unix time.
        ended: why the search has ended: all trials are done, or no further one fits into the budget. Empty while it
            runs, and after it was stopped.
    """

    total: int
    workers: int
    seconds_left: float | None
    running: tuple[RunningTrial, ...]
    updated: float
    ended: Literal["", "complete", "budget"] = ""


@contextlib.contextmanager
def publish_status(folder: Path, describe: Callable[[], SweepStatus]) -> Iterator[None]:
    """Write a sweep's status into its folder while this block runs, and at its end.

    Args:
        folder: of the sweep.
        describe: returns the present status. It is called in this thread, and again and again in another one.
    """
    written = describe()
    _write(folder, written)

    def write_changes() -> None:
        nonlocal written
        status = describe()
        if _has_changed(status, written) or status.updated - written.updated > _REFRESH:
            _write(folder, status)
            written = status

    try:
        with repeat_in_background(INTERVAL, write_changes):
            yield
    finally:
        _write(folder, describe())


def read_status(folder: Path) -> SweepStatus | None:
    """Read the status of a sweep; None if it has none, or if the file is damaged."""
    values = read_json(folder / STATUS)
    try:
        running = tuple(RunningTrial(**trial) for trial in values["running"])
        status = SweepStatus(**{**values, "running": running})
    except (TypeError, KeyError):
        return None
    numbers = (status.total, status.workers, status.updated, status.seconds_left or 0)
    return status if all(isinstance(number, int | float) for number in numbers) else None


def _has_changed(status: SweepStatus, before: SweepStatus) -> bool:
    """Return whether more than the time differs."""
    return (status.total, status.workers, status.running) != (before.total, before.workers, before.running)


def _write(folder: Path, status: SweepStatus) -> None:
    values: dict[str, Any] = dataclasses.asdict(status)
    with contextlib.suppress(OSError):  # such as a full disk: the sweep itself says so
        write_json(folder / STATUS, values)
