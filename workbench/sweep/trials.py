"""The finished trials of a sweep, read from its folder alone, also while it runs."""

import dataclasses
import math
from pathlib import Path

from workbench.errors import UserError
from workbench.files import read_csv, read_json
from workbench.sweep.table import RESULTS

_TEXT = ("worker",)  # the results that are no numbers
METRIC_NAMES = {"val_accuracy": "validation accuracy", "val_loss": "validation loss"}


@dataclasses.dataclass(frozen=True)
class Trial:
    """One finished trial.

    Attributes:
        id: its number in the sweep, as text.
        status: `completed`, `pruned` or `failed`.
        score: what the sweep goes by; None of a failed trial.
        results: the numbers of `workbench.sweep.table.RESULTS`, None where there is none.
        values: hyperparameter -> value.
        reason: of a failure.
    """

    id: str
    status: str
    score: float | None
    results: dict
    values: dict
    reason: str


@dataclasses.dataclass(frozen=True)
class Trials:
    """The finished trials of a sweep and what it searches.

    Attributes:
        parameters: hyperparameter -> its values in the space, in the file's order.
        fixed: name -> the one value it has in every trial.
        metric, direction: what the sweep goes by, and `max` or `min`.
        scored: the trials with a score, the best first; the lower validation loss among equals.
        failed: the others.
    """

    parameters: dict
    fixed: dict
    metric: str
    direction: str
    scored: list
    failed: list

    @property
    def points(self):
        """Number of points of the space."""
        return math.prod(len(values) for values in self.parameters.values())

    @property
    def metric_name(self):
        """The metric in words."""
        return METRIC_NAMES.get(self.metric, self.metric)

    def text(self, score):
        """A score as a person reads it."""
        return f"{score:.1%}" if "accuracy" in self.metric else f"{score:.4g}"

    def __len__(self):
        return len(self.scored) + len(self.failed)


def is_sweep(folder):
    """Whether a run folder is a sweep's."""
    return (Path(folder) / "sweep.json").exists()


def read_trials(folder):
    """The trials of the sweep in a run folder.

    Raises:
        UserError: `sweep.json` is torn, or another version's.
    """
    path = Path(folder) / "sweep.json"
    identity = read_json(path)
    try:
        parameters, fixed, (metric, direction) = (identity[name] for name in ("parameters", "fixed", "metric"))
        known = {name: {str(value): value for value in values} for name, values in parameters.items()}
    except (TypeError, KeyError, ValueError, AttributeError):
        raise UserError(f"{path}: not the description of a sweep; is the folder whole?") from None
    rows = [row for row in read_csv(Path(folder) / "trials.csv") if row.get("reason") is not None]  # written whole
    trials = [_trial(row, known, metric) for row in rows]
    sign = 1 if direction == "max" else -1
    scored = [trial for trial in trials if trial.score is not None]
    scored.sort(key=lambda trial: (-sign * trial.score, trial.results["val_loss"] or 0.0, trial.id))
    return Trials(parameters, fixed, metric, direction, scored, [trial for trial in trials if trial.score is None])


def _trial(row, known, metric):
    results = {name: _number(row.get(name)) for name in RESULTS if name not in _TEXT}
    # How many epochs a trial was meant to have is a hyperparameter; how many it had is a result.
    texts = {name: row.get("max_epochs" if name == "epochs" else name) or "" for name in known}
    values = {name: known[name].get(text, _value(text)) for name, text in texts.items()}
    score = results.get(metric) if row["status"] != "failed" else None
    return Trial(row["trial"], row["status"], score, results, values, row["reason"])


def _number(text):
    """The number that a text says, None where it says no finite one."""
    try:
        number = float(text)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    return int(text) if text.isdigit() else number


def _value(text):
    """A value that the space does not list, such as one drawn from a range."""
    number = _number(text)
    return text if number is None else number
