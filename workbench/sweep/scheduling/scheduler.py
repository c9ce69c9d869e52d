"""The scheduler of a sweep: which trial a worker runs next, what is finished, and when the sweep is complete.

It knows neither KerasTuner nor what is trained. `workbench.sweep.keras_tuner_adapter` connects it to both.
"""

import enum
import math
import statistics
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from workbench.sweep.scheduling.affinity import GraphAffinity
from workbench.sweep.scheduling.pruning import Pruner
from workbench.sweep.scheduling.recent_values import RecentValues
from workbench.sweep.scheduling.trial import Parameter, Trial, Value
from workbench.sweep.scheduling.trial_files import TrialFiles
from workbench.wording import agree, format_count

MAX_ATTEMPTS = 3  # runs of a trial whose worker dies each time; then the trial fails, and the sweep continues


class NoTrial(enum.Enum):
    """Answer to a worker that asks for a trial when there is none."""

    WAIT = "ask again: running trials may fail, or may lead to further ones"
    STOP = "the sweep is over"


class TrialSource(Protocol):
    """Chooses the values of the trials: `workbench.sweep.scheduling.grid.GridSource`, or an adaptive search."""

    def count_trials(self) -> int:
        """Return the number of trials that the sweep will hold when it is complete."""

    def upcoming(self) -> Sequence[Trial]:
        """Return the next trials, in order; any of them may be taken.

        Empty while the source waits for results of running trials.
        """

    def take(self, trial: Trial) -> None:
        """Remove a trial from the upcoming ones: a worker runs it."""

    def finish(self, trial: Trial) -> None:
        """Learn from a trial that has finished."""

    def restore(self, trials: Iterable[Trial]) -> Sequence[Trial]:
        """Take the finished trials of an earlier process, and return the unfinished ones, which are run first."""


class Scheduler:
    """Hands out trials, takes them back and records them, each exactly once.

    All methods may be called from several threads.

    Args:
        source: chooses the trials.
        files: keeps the finished ones; those of an earlier process are loaded.
        metric: name of the result by which trials are ranked.
        direction: `max` or `min`.
        graph_key: function of a trial's values; two trials with equal keys can share a traced graph, and a worker gets
            such trials one after the other. None gives the trials in the source's order.
        pruner: stops trials that are not worth their remaining epochs.
        budget: seconds from now within which the last trial is to end.
        max_retries: times that a trial which has failed is run again.
        max_consecutive_failures: trials in a row that may fail before the sweep ends.

    Attributes:
        trials: id -> the running and the finished trials.
        running: worker -> the trial that it runs.
        is_out_of_time: whether a trial was not started because it would not end within the budget.
        error: why the sweep has ended early, an empty text if it has not.
    """

    def __init__(
        self,
        source: TrialSource,
        files: TrialFiles,
        *,
        metric: str,
        direction: Literal["max", "min"],
        graph_key: Callable[[Mapping[str, Value]], Hashable] | None = None,
        pruner: Pruner | None = None,
        budget: float | None = None,
        max_retries: int = 0,
        max_consecutive_failures: int | None = None,
    ) -> None:
        self.source, self.files, self.metric, self.direction = source, files, metric, direction
        self._listeners: list[Callable[[Trial], None]] = []
        self.trials: dict[str, Trial] = {}
        self.running: dict[str, Trial] = {}
        self.is_out_of_time, self.error = False, ""
        self._affinity = GraphAffinity(graph_key) if graph_key else None
        self._pruner = pruner
        self._deadline = None if budget is None else time.monotonic() + budget
        self._max_retries, self._max_failures = max_retries, max_consecutive_failures
        self._lock = threading.RLock()
        self._deaths: dict[str, int] = {}  # trial id -> workers that died while they ran it
        self._failures: dict[str, int] = {}  # trial id -> failed runs
        self._started: dict[str, float] = {}  # trial id -> Unix time
        self._seconds = RecentValues()  # durations of the finished trials
        self._expected_seconds = 0.0  # of the next trial
        self._workers: dict[str, str] = {}  # id of a running trial -> its worker
        self._consecutive_failures = 0
        finished = files.load()
        for trial in finished:
            self.trials[trial.id] = trial
            self._update_statistics(trial)
            _forget_epochs(trial)
        self._waiting = {trial.id: trial for trial in source.restore(finished)}  # were started, have to be run again
        self.trials.update(self._waiting)

    # What workers call.

    def next_trial(self, worker: str) -> Trial | NoTrial:
        """Return the trial already assigned to this worker, else the next one."""
        with self._lock:
            if worker in self.running:
                return self.running[worker]
            self._check_budget()
            if self.error or self.is_out_of_time:
                return NoTrial.STOP
            waiting = next(iter(self._waiting), None)
            trial = self._take_upcoming(worker) if waiting is None else self._waiting.pop(waiting)
            if trial is None:
                return NoTrial.WAIT if self.running else NoTrial.STOP
            self.trials[trial.id] = self.running[worker] = trial
            self._workers[trial.id] = worker
            self._started[trial.id] = time.time()
            return trial

    def report(self, trial_id: str, metrics: Mapping[str, float], step: int) -> bool:
        """Record the metrics of an epoch, and return whether the trial should stop there."""
        with self._lock:
            reports = self.trials[trial_id].reports
            for name, value in metrics.items():
                reports.setdefault(name, {})[int(step)] = float(value)
            if self._pruner is None or self.metric not in metrics:
                return False
            return self._pruner.should_stop(trial_id, int(step), metrics[self.metric])

    def finish(
        self,
        trial_id: str,
        result: Mapping[str, Any],
        *,
        discovered: Sequence[Parameter] = (),
        values: Mapping[str, Value] | None = None,
        may_retry: bool = False,
        attempt: Path | None = None,
    ) -> None:
        """Record a trial that its worker has run. Nothing happens if it is finished already or was never handed out.

        Args:
            trial_id: id of the trial.
            result: `status` (`completed`, `pruned` or `failed`), `reason` of a failure, the sweep's metric, and
                whatever else the worker records, as JSON values.
            discovered: hyperparameters that the trial's model asked for and that were not known.
            values: their values.
            may_retry: whether the trial may succeed if it is run again.
            attempt: folder of the worker's files, see `TrialFiles.save`.
        """
        with self._lock:
            trial = self.trials.get(trial_id)
            if trial is None or trial.is_finished:
                return
            result, score = dict(result), result.get(self.metric)
            if result["status"] != "failed" and not (score is not None and math.isfinite(score)):
                result |= {"status": "failed", "reason": f"{self.metric} is {score}"}
            self._release(trial)
            trial.discovered = tuple(discovered)
            trial.values = {**(values or {}), **trial.values}
            if result["status"] == "failed" and may_retry and self._failures.get(trial_id, 0) < self._max_retries:
                self._failures[trial_id] = self._failures.get(trial_id, 0) + 1
                trial.reports = {}
                self.files.discard_result(trial_id)
                self._waiting[trial.id] = trial
                return
            self._record(trial, result, attempt)

    # What the command calls.

    def add_listener(self, listener: Callable[[Trial], None]) -> None:
        """Call a function with each trial that finishes from now on, after those that were added before."""
        with self._lock:
            self._listeners.append(listener)

    def on_worker_ended(self, worker: str) -> None:
        """Record that a worker has ended. Another one runs the trial that it did not finish, and traces its graphs."""
        with self._lock:
            trial = self.running.pop(worker, None)
            if trial is not None:
                del self._workers[trial.id]
                self._waiting[trial.id] = trial
            if self._affinity:
                self._affinity.forget(worker)

    def on_worker_died(self, worker: str, reason: str) -> None:
        """Record that a worker has died, perhaps because of its trial, which fails after `MAX_ATTEMPTS` deaths."""
        with self._lock:
            trial = self.running.get(worker)
            if trial is not None:
                deaths = self._deaths[trial.id] = self._deaths.get(trial.id, 0) + 1
                if deaths >= MAX_ATTEMPTS:
                    reason = f"its worker died {format_count(deaths, 'time')}, the last time with {reason}"
                    self.finish(trial.id, {"status": "failed", "reason": reason})
            self.on_worker_ended(worker)

    def is_complete(self) -> bool:
        """Return whether no trial is running and none is left to run within the budget."""
        with self._lock:
            if self.running:
                return False
            if self.error or self.is_out_of_time:
                return True
            return not (self._waiting or self.source.upcoming())

    def list_finished(self) -> list[Trial]:
        """Return the finished trials, in the order of their ids."""
        with self._lock:
            return [trial for _, trial in sorted(self.trials.items()) if trial.is_finished]

    def list_running(self) -> list[tuple[str, Trial]]:
        """Return (worker, trial) for each running trial, in the order of the workers' names."""
        with self._lock:
            return sorted(self.running.items(), key=lambda item: item[0])

    # How it is done.

    def _take_upcoming(self, worker: str) -> Trial | None:
        trials = self.source.upcoming()
        if not trials:
            return None
        trial = self._affinity.choose(worker, trials, self.running) if self._affinity else trials[0]
        if trial is not None:
            self.source.take(trial)
        return trial

    def _check_budget(self) -> None:
        """Set `is_out_of_time` if the next trial would not end within the budget.

        A trial is expected to take the 80th percentile of trial durations so far.
        """
        if self._deadline is None:
            return
        self.is_out_of_time = self.is_out_of_time or time.monotonic() + self._expected_seconds > self._deadline

    def _release(self, trial: Trial) -> None:
        """Take a trial from the worker that runs it, and from those that wait for a worker."""
        worker = self._workers.pop(trial.id, None)
        if worker is not None:
            del self.running[worker]
        self._waiting.pop(trial.id, None)

    def _record(self, trial: Trial, result: dict[str, Any], attempt: Path | None) -> None:
        result.setdefault("started", self._started.get(trial.id, time.time()))
        result["ended"] = time.time()
        trial.status, trial.reason, trial.result = result["status"], result.get("reason") or "", result
        trial.score = None if trial.status == "failed" else float(result[self.metric])
        try:
            self.files.save(trial, attempt)
        except BaseException:  # such as a full disk: the trial is not finished, and the sweep not complete
            trial.status, trial.reason, trial.result, trial.score = "running", "", {}, None
            self._waiting[trial.id] = trial
            raise
        self._update_statistics(trial)
        self.source.finish(trial)
        self._consecutive_failures = self._consecutive_failures + 1 if trial.status == "failed" else 0
        if self._consecutive_failures == self._max_failures:
            trials = format_count(self._max_failures, "trial")
            has = agree(self._max_failures, "has", "have")
            self.error = f"{trials} in a row {has} failed, the last one with: {trial.reason}"
        for listener in self._listeners:
            listener(trial)
        _forget_epochs(trial)
        for counts in (self._deaths, self._failures):
            counts.pop(trial.id, None)
        self._started.pop(trial.id, None)

    def _update_statistics(self, trial: Trial) -> None:
        """Use a finished trial to judge the next ones."""
        seconds = trial.result.get("seconds")
        if seconds:
            self._seconds.add(trial.id, seconds)
            known = self._seconds.sorted
            if self._deadline is not None:
                self._expected_seconds = statistics.quantiles(known, n=5)[-1] if len(known) > 1 else known[0]
            if self._affinity:
                self._affinity.record(trial.id, seconds)
        if self._pruner:
            for epoch in trial.result.get("history", []):
                self._pruner.add(trial.id, epoch["epoch"], epoch[self.metric])


def _forget_epochs(trial: Trial) -> None:
    """Free the memory of a finished trial's epochs, which are in its files."""
    trial.reports = {}
    trial.result.pop("history", None)
