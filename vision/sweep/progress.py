"""What a sweep shows: a line a trial while it runs, and the best trials at the end."""

import time

from keras_tuner.engine.trial import TrialStatus
from rich.table import Table

from vision.console import console, duration, print_line
from vision.sweep.space import decode


class SweepProgress:
    """Prints a line for each finished trial: its score, the best so far, time left.

    Args:
        table: the sweep's `vision.sweep.table.TrialTable`.
        total: number of trials the sweep will hold.
    """

    def __init__(self, table, total):
        self._table, self._total = table, total
        self._start, self._done_before = time.perf_counter(), len(table.oracle.finished_trials())

    def begin(self):
        """Say how much of the sweep stands already."""
        if self._done_before:
            console.print(f"going on after {self._done_before} finished trials")

    def show(self, trial):
        """Print the line of a trial that has just ended."""
        done = len(self._table.oracle.finished_trials())
        seconds_each = (time.perf_counter() - self._start) / (done - self._done_before)
        left = duration((self._total - done) * seconds_each)
        place = f"[{done:{len(str(self._total))}d}/{self._total}]"
        row = self._table.row(trial)
        if trial.status == TrialStatus.COMPLETED:
            best = self._table.best(1)[0]
            result = f"val_accuracy {row['val_accuracy']:6.1%}  best {self._table.row(best)['val_accuracy']:6.1%}"
            result += f"  {row['seconds']:5.1f} s  {left} left"
        else:
            result = f"[red]failed[/]  {row['reason']}  {left} left"
        print_line(f"{place} {trial.trial_id}  {result}  [dim]{_settings(trial)}[/]")


def _settings(trial):
    return " ".join(f"{name}={_short(value)}" for name, value in decode(trial.hyperparameters.values).items())


def _short(value):
    """A value in few characters: a list of equal numbers as the number."""
    if isinstance(value, list):
        return str(value[0]) if len(set(value)) == 1 else "-".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def best_trials(table, count=5):
    """A table of the best trials for the screen; only the parameters that differ among them have a column."""
    trials = table.best(count)
    rows = [table.row(trial) for trial in trials]
    names = list(trials[0].hyperparameters.values)
    varied = [name for name in names if len({str(row[name]) for row in rows}) > 1]
    shown = Table(title=f"best {len(rows)} trials", title_justify="left", box=None, pad_edge=False)
    for column in ("trial", "val acc", "train acc", "epochs", "seconds", "parameters"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("settings that differ" if varied else "settings")
    for row in rows:
        settings = ", ".join(f"{name} {_short(row[name])}" for name in varied or names if name != "epochs")
        shown.add_row(
            row["trial"],
            f"{row['val_accuracy']:.1%}",
            f"{row['accuracy']:.1%}",
            f"{row['epochs']:.0f}",
            f"{row['seconds']:.1f}",
            f"{row['parameters']:,.0f}",
            settings,
        )
    return shown
