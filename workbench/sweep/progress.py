"""What a sweep shows: a live board on a terminal, a line a trial everywhere, the best trials at the end."""

import time

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from workbench.console import console, duration, print_line
from workbench.sweep.cost import LONG, advice

_SAMPLE = 3  # trials, after which the pace is known


class SweepProgress:
    """Shows a sweep while it runs.

    Args:
        table: the sweep's `workbench.sweep.table.TrialTable`.
        total: number of trials the sweep will hold.
        expected: whether its cost was told before it started.
    """

    def __init__(self, table, total, expected=False):
        self._table, self._total = table, total
        self._start, self._done_before, self._advised = time.perf_counter(), len(table), expected
        self._live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._board)

    def __enter__(self):
        if self._done_before:
            console.print(f"going on after {self._done_before:,} finished trials")
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception):
        if console.is_terminal:
            self._live.stop()

    def show(self, trial):
        """Print the line of a trial that has just ended."""
        row, done = self._table.row(trial), len(self._table)
        place = f"[{done:{len(str(self._total))}d}/{self._total}] {row['trial']}"
        if row["status"] == "failed":
            result = [("failed", "red"), f"  {row['reason']}"]
        else:
            best, metric = self._table.row(self._table.best(1)[0]), self._table.oracle.objective.name
            scores = f"{metric} {score(metric, row[metric]):>6}  best {score(metric, best[metric]):>6}"
            result = [f"{scores}  {row['seconds']:5.1f} s"]
            if row["status"] == "pruned":
                result.append((f"  pruned after epoch {row['epochs']}", "yellow"))
        left = f"  {self._time_left()} left  "
        print_line(Text.assemble(f"{place}  ", *result, left, (settings(self._table, trial), "dim")))
        self._advise()

    def _advise(self):
        """Say once how long a very long sweep takes, and what to do instead."""
        done, left = len(self._table) - self._done_before, self._seconds_left()
        if self._advised or done < _SAMPLE or left < LONG:
            return
        self._advised = True
        console.print(f"at this pace it takes {duration(left)} more: {advice(left, self._total - len(self._table))}")

    def _seconds_left(self):
        done = len(self._table) - self._done_before
        return (self._total - len(self._table)) * (time.perf_counter() - self._start) / done

    def _time_left(self):
        return duration(self._seconds_left()) if len(self._table) > self._done_before else "?"

    def _board(self):
        """The board below the lines: totals, and what each worker does."""
        oracle = self._table.oracle
        done, elapsed = len(self._table) - self._done_before, time.perf_counter() - self._start
        statuses = [result["status"] for result in list(oracle.results.values())]
        best = self._table.best(1)
        parts = [
            f"best {score(oracle.objective.name, best[0].score)}" if best else "no result yet",
            f"{statuses.count('failed')} failed, {statuses.count('pruned')} pruned",
            f"{done / elapsed * 3600:,.0f} trials an hour, {self._time_left()} left" if done else "",
        ]
        totals = (f"{len(self._table):,}/{self._total:,} trials", "bold")
        workers = Table.grid(padding=(0, 2))
        for _ in range(3):
            workers.add_column(no_wrap=True)
        for tuner_id, trial in sorted(oracle.ongoing_trials.copy().items()):
            line = Text(settings(self._table, trial), no_wrap=True, overflow="ellipsis")
            workers.add_row(tuner_id, f"trial {trial.trial_id}", _epoch(trial), line, style="dim")
        return Group(Text.assemble(totals, "  ", "  ".join(parts), no_wrap=True, overflow="ellipsis"), workers)


def _epoch(trial):
    if not trial.metrics.exists("val_accuracy"):
        return "first epoch"
    last = trial.metrics.get_history("val_accuracy")[-1]
    return f"epoch {last.step}: {last.value[0]:.1%}"


def score(metric, value):
    """The value of a metric for people."""
    return f"{value:.1%}" if metric.endswith("accuracy") else f"{value:.4f}"


def settings(table, trial):
    """A trial's parameters in one line."""
    values = table.oracle.space.values(trial.hyperparameters.values)
    return " ".join(f"{name}={short(value)}" for name, value in values.items())


def short(value):
    """A value in few characters: a list of equal numbers as the number."""
    if isinstance(value, list):
        return str(value[0]) if len(set(value)) == 1 else "-".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def best_trials(table, count=5):
    """A table of the best trials for the screen; settings that are the same in all of them are left out."""
    trials = table.best(count)
    rows = [table.row(trial) for trial in trials]
    names = [name for name in table.oracle.space.values(trials[0].hyperparameters.values) if name != "epochs"]
    varied = [name for name in names if len({str(row[name]) for row in rows}) > 1]
    title = "best trial" if len(rows) == 1 else f"best {len(rows)} trials"
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False)
    by_loss = table.oracle.objective.name == "val_loss"
    for column in (
        "trial",
        *(["val loss"] if by_loss else []),
        "val acc",
        "train acc",
        "epochs",
        "seconds",
        "parameters",
    ):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("settings that differ" if varied else "settings")
    for row in rows:
        shown.add_row(
            row["trial"],
            *([score("val_loss", row["val_loss"])] if by_loss else []),
            f"{row['val_accuracy']:.1%}",
            f"{row['accuracy']:.1%}",
            str(row["epochs"]),
            f"{row['seconds']:.1f}",
            f"{row['parameters']:,}",
            ", ".join(f"{name} {short(row[name])}" for name in varied or names),
        )
    return shown
