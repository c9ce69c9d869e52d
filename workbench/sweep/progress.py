"""The progress of a sweep on the screen: a line for each trial, a live board, and the best trials at the end."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from workbench.console import console, format_duration, print_line
from workbench.sweep.cost import LONG, advise
from workbench.sweep.results import (
    RESULT_COLUMNS,
    SweepResults,
    TrialResult,
    find_varied_parameters,
    format_score,
    format_value,
    format_values,
)
from workbench.sweep.status import RunningTrial
from workbench.wording import format_count

_MIN_TRIALS = 3  # after which the speed of a sweep is known


class SweepProgress:
    """Shows a sweep while it runs, as a context manager.

    Args:
        results: the results of the sweep, to which its trials are added.
        total: number of trials that the sweep will hold.
        list_running: function that returns the trials that workers run now.
        has_estimate: whether the duration of the sweep was printed before it started.
    """

    def __init__(
        self,
        results: SweepResults,
        total: int,
        list_running: Callable[[], Sequence[RunningTrial]],
        *,
        has_estimate: bool = False,
    ) -> None:
        self._results, self._total, self._list_running = results, total, list_running
        self._start, self._finished_before = time.perf_counter(), len(results)
        self._has_estimate = has_estimate
        self._live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._draw_board)

    def __enter__(self) -> Self:
        if self._finished_before:
            console.print(f"resuming after {format_count(self._finished_before, 'finished trial')}")
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if console.is_terminal:
            self._live.stop()

    def show(self, trial: TrialResult) -> None:
        """Print the line of a trial that has just finished and is among the results."""
        results, done = self._results, len(self._results)
        place = f"[{done:{len(str(self._total))}d}/{self._total}] {trial.id}"
        parts: list[str | tuple[str, str]] = []
        if trial.score is None or results.best is None or results.best.score is None:
            parts += [("failed", "red"), f"  {trial.reason}"]
        else:
            score, best = results.format_score(trial.score), results.format_score(results.best.score)
            parts.append(f"{results.metric} {score:>6}  best {best:>6}  {trial.seconds or 0.0:5.1f} s")
            if trial.status == "pruned":
                parts.append((f"  pruned after epoch {trial.epochs}", "yellow"))
        left = f"  {self._format_time_left()} left  "
        print_line(Text.assemble(f"{place}  ", *parts, left, (format_values(trial.values), "dim")))
        self._advise_once()

    def _advise_once(self) -> None:
        """Print once how long a very long sweep takes and how to shorten it, unless its estimate was printed."""
        if self._has_estimate or self._finished_now() < _MIN_TRIALS or self._seconds_left() < LONG:
            return
        self._has_estimate = True
        left = self._seconds_left()
        console.print(
            f"at this speed it takes {format_duration(left)} more: {advise(left, self._total - len(self._results))}"
        )

    def _finished_now(self) -> int:
        """Return the number of trials that have finished since this command was started."""
        return len(self._results) - self._finished_before

    def _seconds_left(self) -> float:
        left = self._total - len(self._results)
        return left * (time.perf_counter() - self._start) / self._finished_now()

    def estimate_seconds_left(self) -> float | None:
        """Return how long the remaining trials take at the speed so far; None before the first one has finished."""
        return self._seconds_left() if self._finished_now() else None

    def _format_time_left(self) -> str:
        return format_duration(self._seconds_left()) if self._finished_now() else "?"

    def _draw_board(self) -> Group:
        """Return the board below the lines: the totals, and what each worker does."""
        results, done = self._results, self._finished_now()
        pruned = sum(trial.status == "pruned" for trial in list(results.scored))  # a copy: another thread adds trials
        best = results.best
        parts = [
            f"best {results.format_score(best.score)}" if best and best.score is not None else "no result yet",
            f"{len(results.failed)} failed, {pruned} pruned",
        ]
        if done:
            per_hour = done / (time.perf_counter() - self._start) * 3600
            parts.append(f"{format_count(round(per_hour), 'trial')} an hour, {self._format_time_left()} left")
        totals = (f"{len(results):,}/{self._total:,} trials", "bold")
        workers = Table.grid(padding=(0, 2))
        for _ in range(3):
            workers.add_column(no_wrap=True)
        for trial in self._list_running():
            values = Text(format_values(trial.values), no_wrap=True, overflow="ellipsis")
            workers.add_row(trial.worker, f"trial {trial.id}", _format_epoch(trial), values, style="dim")
        return Group(Text.assemble(totals, "  ", "  ".join(parts), no_wrap=True, overflow="ellipsis"), workers)


def _format_epoch(trial: RunningTrial) -> str:
    if trial.val_accuracy is None:
        return "first epoch"
    return f"epoch {trial.epoch}: {format_score('val_accuracy', trial.val_accuracy)}"


def tabulate_best_trials(results: SweepResults, count: int = 5) -> Table:
    """Return a table of the best trials for the screen. Settings that are equal in all of them are left out."""
    trials = results.scored[:count]
    names = [name for name in results.parameters if name != "epochs"]  # its column is among the results
    varied = find_varied_parameters(trials, names)
    columns = [column for column in RESULT_COLUMNS if column.field != "val_loss" or results.metric == "val_loss"]
    title = "best trial" if len(trials) == 1 else f"best {len(trials)} trials"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for label in ("trial", *(column.label for column in columns)):
        table.add_column(label, justify="right", no_wrap=True)
    table.add_column("settings that differ" if varied else "settings")
    for trial in trials:
        settings = ", ".join(f"{name} {format_value(trial.values[name])}" for name in varied or names)
        table.add_row(trial.id, *(column.write(trial) for column in columns), settings)
    return table
