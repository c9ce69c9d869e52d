"""The results of a sweep: its finished trials, their ranking, the file trials.csv, and how results are formatted."""

import bisect
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import UserError
from workbench.files import append_csv, read_csv, read_json, write_csv

Value = bool | int | float | str | list[int] | None  # of a hyperparameter
WEIGHTS = "weights.npz"  # name of the file in a trial's folder
_FEW = 100  # trials that are put in their places one by one; more are sorted
METRIC_NAMES = {"val_accuracy": "validation accuracy", "val_loss": "validation loss"}


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """A finished trial.

    The fields from `val_accuracy` to `worker` are columns of trials.csv (see `RESULT_FIELDS`). The accuracies and
    losses are those of the best epoch. A number is None if the trial failed before it was known.

    Attributes:
        id: number of the trial in the sweep, as text.
        status: `completed`, `pruned` or `failed`.
        score: value of the sweep's metric, by which trials are ranked; None for a failed trial.
        values: hyperparameter -> value.
        reason: why the trial failed, else an empty text.
        best_epoch: epoch with the best validation accuracy, counted from 1.
        epochs: number of epochs that were trained.
        max_epochs: number of epochs that the trial may train.
        seconds: duration of the trial.
        parameters: number of parameters of the network.
        started, ended: Unix time in seconds.
        worker: name of the process that ran the trial.
    """

    id: str
    status: str
    score: float | None
    values: dict[str, Value]
    reason: str = ""
    val_accuracy: float | None = None
    val_loss: float | None = None
    accuracy: float | None = None
    loss: float | None = None
    best_epoch: int | None = None
    epochs: int | None = None
    max_epochs: int | None = None
    seconds: float | None = None
    parameters: int | None = None
    started: float | None = None
    ended: float | None = None
    worker: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the trial has no score."""
        return self.score is None

    def to_row(self) -> dict[str, Value]:
        """Return the trial as a row of trials.csv.

        `epochs` is a result and can be a hyperparameter too; the column of that name holds the result, and
        `max_epochs` the hyperparameter.
        """
        results = {name: getattr(self, name) for name in RESULT_FIELDS}
        return {
            "trial": self.id,
            "status": self.status,
            **{name: "" if value is None else value for name, value in results.items()},
            **{name: value for name, value in self.values.items() if name not in RESULT_FIELDS},
            "reason": self.reason,
        }


RESULT_FIELDS = tuple(field.name for field in dataclasses.fields(TrialResult))[5:]  # columns of trials.csv


def make_result(trial_id: str, values: Mapping[str, Value], result: Mapping[str, Any], metric: str) -> TrialResult:
    """Return a finished trial from the content of its `result.json`.

    Args:
        trial_id: number of the trial, as text.
        values: hyperparameter -> value.
        result: `status`, `reason` (optional), and those of `RESULT_FIELDS` that are known.
        metric: name of the result that is the trial's score.
    """
    return TrialResult(
        id=trial_id,
        status=result["status"],
        score=None if result["status"] == "failed" else result.get(metric),
        values=dict(values),
        reason=result.get("reason") or "",
        **{name: result.get(name) for name in RESULT_FIELDS},
    )


@dataclasses.dataclass(frozen=True)
class SweepResults:
    """The finished trials of a sweep and the space that it searches.

    Attributes:
        parameters: hyperparameter -> its values in the space, in the order of the space file.
        fixed: name -> the one value that it has in every trial.
        metric: name of the result by which trials are ranked.
        direction: `max` or `min`, which says whether a high or a low value of the metric is better.
        scored: the trials with a score, the best first. Of equal scores the lower validation loss comes first.
        failed: the other trials, in the order in which they ended.
    """

    parameters: dict[str, list[Value]]
    fixed: dict[str, Value]
    metric: str
    direction: str
    scored: list[TrialResult] = dataclasses.field(default_factory=list)
    failed: list[TrialResult] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of finished trials."""
        return len(self.scored) + len(self.failed)

    @property
    def trials(self) -> list[TrialResult]:
        """All finished trials: the best first, the failed ones last."""
        return [*self.scored, *self.failed]

    @property
    def best(self) -> TrialResult | None:
        """The best trial, None if no trial has a score."""
        return self.scored[0] if self.scored else None

    @property
    def num_points(self) -> int:
        """Number of points of the space."""
        return math.prod(len(values) for values in self.parameters.values())

    @property
    def metric_name(self) -> str:
        """The metric in words."""
        return METRIC_NAMES.get(self.metric, self.metric)

    def is_better(self, one: TrialResult, other: TrialResult) -> bool:
        """Return whether a trial ranks before another one; both have a score."""
        return self._rank(one) < self._rank(other)

    def add(self, trial: TrialResult) -> None:
        """Add a finished trial at its place in the ranking."""
        if trial.failed:
            self.failed.append(trial)
        else:
            bisect.insort(self.scored, trial, key=self._rank)

    def add_all(self, trials: Sequence[TrialResult]) -> None:
        """Add finished trials, which may be many."""
        if len(trials) < _FEW:
            for trial in trials:
                self.add(trial)
            return
        self.failed.extend(trial for trial in trials if trial.failed)
        self.scored.extend(trial for trial in trials if not trial.failed)
        self.scored.sort(key=self._rank)

    def format_score(self, score: float) -> str:
        """Return a score as text."""
        return format_score(self.metric, score)

    def _rank(self, trial: TrialResult) -> tuple[float, float, str]:
        """Return the key by which trials are sorted, the best first."""
        assert trial.score is not None
        return (-trial.score if self.direction == "max" else trial.score), trial.val_loss or 0.0, trial.id


class ResultsRecorder:
    """Writes the results of a running sweep to trials.csv, and removes the weights of all but the best trials.

    Args:
        path: path of trials.csv. It is written again from `results`: a killed sweep may have left it incomplete.
        results: the trials that have finished before.
        keep: number of best trials whose weights stay on disk.
        trial_dir: function of a trial's id that returns the folder in which its `weights.npz` is.
    """

    def __init__(self, path: Path, results: SweepResults, keep: int, trial_dir: Callable[[str], Path]) -> None:
        self.path, self.results = path, results
        self._keep, self._trial_dir = keep, trial_dir
        for trial in results.scored[keep:]:
            self._remove_weights(trial)
        write_csv(path, [trial.to_row() for trial in sorted(results.trials, key=lambda trial: trial.id)])

    def add(self, trial: TrialResult) -> None:
        """Add a trial that has just finished."""
        append_csv(self.path, trial.to_row())
        self.results.add(trial)
        for other in self.results.scored[self._keep : self._keep + 1]:  # the one that fell out of the best
            self._remove_weights(other)
        if trial.id not in {best.id for best in self.results.scored[: self._keep]}:
            self._remove_weights(trial)

    def may_keep(self, trial: TrialResult) -> bool:
        """Return whether the weights of a trial that ends now are kept, unless better trials follow."""
        scored = self.results.scored
        return not trial.failed and (len(scored) < self._keep or self.results.is_better(trial, scored[self._keep - 1]))

    def _remove_weights(self, trial: TrialResult) -> None:
        (self._trial_dir(trial.id) / WEIGHTS).unlink(missing_ok=True)


def is_sweep(folder: Path | str) -> bool:
    """Return whether a run folder is the folder of a sweep."""
    return (Path(folder) / "sweep.json").exists()


def read_results(folder: Path | str) -> SweepResults:
    """Read the results of a sweep from its folder. The sweep may still be running.

    Raises:
        UserError: `sweep.json` or `trials.csv` is damaged or has another format.
    """
    results = read_description(folder)
    add_rows(results, read_csv(Path(folder) / "trials.csv"), Path(folder) / "trials.csv")
    return results


def read_description(folder: Path | str) -> SweepResults:
    """Read what a sweep varies from its folder, without its trials.

    Raises:
        UserError: `sweep.json` is damaged or has another format.
    """
    path = Path(folder) / "sweep.json"
    identity = read_json(path)
    try:
        parameters, fixed, (metric, direction) = (identity[name] for name in ("parameters", "fixed", "metric"))
        if metric not in METRIC_NAMES or direction not in ("min", "max"):
            raise ValueError
        fixed.keys()
        for values in parameters.values():
            iter(values)
    except (TypeError, KeyError, ValueError, AttributeError):
        raise UserError(f"{path}: not the description of a sweep; is the folder complete?") from None
    return SweepResults(parameters, fixed, metric, direction)


def has_endless_space(folder: Path, config: Mapping[str, Any]) -> bool:
    """Return whether a sweep, by its folder and configuration, draws values from ranges, as `Space.is_endless`."""
    settings = read_json(folder / "sweep.json")
    return config.get("tuner", "grid") != "grid" and isinstance(settings, dict) and bool(settings.get("distributions"))


def add_rows(results: SweepResults, rows: Iterable[Mapping[str, str]], path: Path) -> None:
    """Add the trials of rows of trials.csv. A last row that is still being written is left out.

    Args:
        results: gets the trials.
        rows: column -> text.
        path: of the file, for the error.

    Raises:
        UserError: a column is missing.
    """
    known = {name: {str(value): value for value in values} for name, values in results.parameters.items()}
    trials = []
    for row in rows:
        if not {"trial", "status", "reason"} <= row.keys():
            raise UserError(f"{path}: damaged (a column is missing); restore the file")
        if row["reason"] is not None:  # else the row is still being written
            trials.append(_parse_row(row, known, results.metric))
    results.add_all(trials)


def _parse_row(row: Mapping[str, str], known: Mapping[str, Mapping[str, Value]], metric: str) -> TrialResult:
    """Return the trial of a row of trials.csv.

    Args:
        row: column -> text.
        known: hyperparameter -> text -> the value of the space that is written so.
        metric: name of the result that is the trial's score.
    """
    texts = {name: row.get("max_epochs" if name == "epochs" else name) or "" for name in known}
    values = {name: known[name][text] if text in known[name] else _parse_value(text) for name, text in texts.items()}
    numbers = {name: _parse_number(row.get(name)) for name in RESULT_FIELDS}
    result = {**numbers, "status": row["status"], "reason": row["reason"], "worker": row.get("worker") or None}
    return make_result(row["trial"], values, result, metric)


def _parse_number(text: str | None) -> int | float | None:
    """Return the number that a text holds, None if it holds no finite number."""
    if not text:
        return None
    try:
        number = int(text) if text.isdecimal() else float(text)
        return number if math.isfinite(number) else None
    except (ValueError, OverflowError):  # no number, or one of hundreds of digits
        return None


def _parse_value(text: str) -> Value:
    """Return a value that the space does not list, such as one drawn from a range."""
    number = _parse_number(text)
    return text if number is None else number


def format_score(metric: str, score: float) -> str:
    """Return the value of a metric as text: accuracies in per cent, losses with four digits."""
    return f"{score:.1%}" if metric.endswith("accuracy") else f"{score:#.4g}"


def format_value(value: Value) -> str:
    """Return a hyperparameter's value as short text: a list of equal numbers as that number."""
    if isinstance(value, list):
        return str(value[0]) if len(set(value)) == 1 else "-".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def format_values(values: Mapping[str, Value]) -> str:
    """Return hyperparameters as one line of `name=value`."""
    return " ".join(f"{name}={format_value(value)}" for name, value in values.items())


@dataclasses.dataclass(frozen=True)
class ResultColumn:
    """A column of results in a table of trials.

    Attributes:
        field: name of the field of `TrialResult`.
        label: heading of the column.
        format: function that writes a value which is not None.
    """

    field: str
    label: str
    format: Callable[[Any], str]

    def write(self, trial: TrialResult) -> str:
        """Return the text of a trial's cell, empty if the trial has no such result."""
        value = getattr(trial, self.field)
        return "" if value is None else self.format(value)


RESULT_COLUMNS = (  # of every table of trials, on the screen and on the page
    ResultColumn("val_accuracy", "val acc", lambda value: format_score("val_accuracy", value)),
    ResultColumn("val_loss", "val loss", lambda value: format_score("val_loss", value)),
    ResultColumn("accuracy", "train acc", lambda value: format_score("accuracy", value)),
    ResultColumn("epochs", "epochs", str),
    ResultColumn("seconds", "seconds", lambda value: f"{value:.1f}"),
    ResultColumn("parameters", "parameters", lambda value: f"{value:,}"),
)


def find_varied_parameters(trials: Iterable[TrialResult], parameters: Iterable[str]) -> list[str]:
    """Return those of the hyperparameters that do not have the same value in all of the trials."""
    trials = list(trials)
    return [name for name in parameters if len({str(trial.values.get(name)) for trial in trials}) > 1]


def measure_running_time(trials: Iterable[TrialResult]) -> dict[str, float]:
    """Return trial id -> seconds of running after which the trial ended, in the order of their ends.

    Time in which no trial ran does not count, such as the night between two calls of a sweep. Trials whose start or end
    is not known are left out.
    """
    times = sorted(
        (trial.started, trial.ended, trial.id)
        for trial in trials
        if trial.started is not None and trial.ended is not None
    )
    ends: dict[str, float] = {}
    idle, busy_until = 0.0, times[0][0] if times else 0.0
    for started, ended, trial_id in times:
        idle += max(0.0, started - busy_until)
        busy_until = max(busy_until, ended)
        ends[trial_id] = ended - times[0][0] - idle
    return ends
