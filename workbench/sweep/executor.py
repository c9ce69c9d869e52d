"""Where the trials of a sweep run: in processes of this machine, or on a Ray cluster. Both have this interface."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from workbench.sweep.scheduling.scheduler import Scheduler
from workbench.sweep.scheduling.trial import Trial

MAX_DEATHS = 3  # of workers with no finished trial in between; after these the sweep ends with an error
WantsWeights = Callable[[str, Mapping[str, Any]], bool]  # of a trial with this id and result
TICK = 0.1  # seconds between two looks at the workers


class DeathCounter:
    """Counts the deaths of workers with no finished trial in between.

    One trial that kills each of its workers does not end a sweep: after `MAX_ATTEMPTS` deaths (scheduling/scheduler.py)
    it is recorded as failed, and the count starts again.
    """

    def __init__(self) -> None:
        self._count = 0

    def follow(self, scheduler: Scheduler) -> None:
        """Start again from 0 with each trial that is finished."""
        scheduler.add_listener(self._reset)

    def add(self) -> None:
        """Count a death."""
        self._count += 1

    def is_full(self) -> bool:
        """Return whether workers have died so often that none can run."""
        return self._count >= MAX_DEATHS

    def _reset(self, trial: Trial) -> None:
        self._count = 0


class ServedOracle(Protocol):
    """What workers need of the command: a part of `SchedulerOracle`."""

    scheduler: Scheduler

    def answer(self, method: str, *arguments: Any) -> Any:
        """Answer a worker's call of `RemoteOracle`."""


class Executor(Protocol):
    """Runs the trials of a sweep in workers. The scheduler stays in the command, which the workers ask for trials."""

    def start(self) -> None:
        """Start the workers. They import TensorFlow while the command reads its data."""

    def is_usable(self) -> bool:
        """Return whether the workers can compute on what they were started for; TensorFlow is loaded by now."""

    def keep_logs(self, folder: Path) -> None:
        """Keep what the workers print in a folder of the sweep, also what they have printed so far."""

    def choose_weights(self, wants_weights: WantsWeights) -> None:
        """Bring the weights of those trials alone to this machine. By default all are brought."""

    def describe_device(self) -> str:
        """Return what the trials compute on."""

    def count_workers(self) -> int:
        """Return the number of workers."""

    def computes_like_command(self) -> bool:
        """Return whether a trial is as fast as it would be in the command's process."""

    def run(self, task: Any, oracle: ServedOracle) -> None:
        """Run trials until the scheduler is complete.

        Args:
            task: (tuner, arguments, keyword arguments) of its `run_trials`; must be picklable.
            oracle: hands out the trials.

        Raises:
            UserError: the workers cannot run, or a disk is full.
        """

    def stop(self) -> None:
        """End all workers."""
