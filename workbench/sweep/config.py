"""The settings of a sweep, whatever is swept."""

import dataclasses
import typing

from workbench.config import parse_duration
from workbench.errors import UserError

DEFAULT_SPACE = "configs/sweep.yaml"
DEFAULT_TRIALS = 16


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Search.

    Args:
        space: YAML file of the parameters and their values.
        tuner: `grid` every point once; `random` the same without an end to ranges; `bayesian` goes where the
            results so far promise most; `hyperband` gives more epochs to the best of many short trials.
        max_trials: Trials in all, or `all` for the whole space; 16 by default, and as many as it takes for
            hyperband. Raised later, the sweep goes on.
        order: Of the grid: `shuffled`, so that the first trials are a fair sample, or `lexicographic`.
        prune: Stop a trial that does worse at an epoch than the `median` of the others there, or that is not
            among the best quarter at one of a few epochs (successive `halving`). For grid and random.
        budget: Start no trial that would not be done in this time, such as 30m or 2h.
        keep: Number of best trials whose weights are kept.
        seed: Seed of the split, the shuffled order, and each trial's training where the sweep does not vary it.
    """

    space: str = DEFAULT_SPACE
    tuner: typing.Literal["grid", "random", "bayesian", "hyperband"] = "grid"
    max_trials: int | typing.Literal["all"] | None = None
    order: typing.Literal["shuffled", "lexicographic"] = "shuffled"
    prune: typing.Literal["off", "median", "halving"] = "off"
    budget: str | None = None
    keep: int = 5
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class WorkersConfig:
    """Workers.

    Args:
        workers: Worker processes on this machine; `auto` is one a GPU, or one a CPU core. 0 runs the trials in
            the command's own process.
        chief: Serve trials to workers on other machines too, at --oracle-address.
        worker: Work for a chief on another machine, found at --oracle-address; --name and --runs-dir must
            lead to its sweep's folder.
        oracle_address: HOST:PORT where the chief listens; nothing but this machine's loopback without it.
    """

    workers: int | typing.Literal["auto"] = "auto"
    chief: bool = False
    worker: bool = False
    oracle_address: str | None = None


def check_sweep(search: SearchConfig, workers: WorkersConfig) -> None:
    """Refuse settings that make no sweep.

    Raises:
        UserError: names the option.
    """
    if search.max_trials not in ("all", None) and search.max_trials < 1:
        raise UserError(f"--max-trials {search.max_trials}: must be at least 1, or 'all'")
    if workers.workers != "auto" and workers.workers < 0:
        raise UserError(f"--workers {workers.workers}: must be 0 or more, or 'auto'")
    if search.keep < 1:
        raise UserError(f"--keep {search.keep}: must be at least 1")
    if workers.chief and workers.worker:
        raise UserError("--chief and --worker: a command is one or the other")
    if (workers.chief or workers.worker) and workers.oracle_address is None:
        raise UserError("--oracle-address HOST:PORT is needed with --chief and with --worker")
    if workers.oracle_address and not (workers.chief or workers.worker):
        raise UserError("--oracle-address: say --chief to listen there, or --worker to work for the chief there")
    if search.prune != "off" and search.tuner not in ("grid", "random"):
        raise UserError(f"--prune {search.prune}: goes with --tuner grid or random; {search.tuner} has its own way")
    parse_duration(search.budget)
    address(workers.oracle_address)


def trial_limit(search: SearchConfig) -> int | None:
    """Return the number of trials that are asked for, or None for the whole space."""
    if search.max_trials is None:
        return None if search.tuner == "hyperband" else DEFAULT_TRIALS
    return None if search.max_trials == "all" else search.max_trials


def address(text):
    """`HOST:PORT` as (host, port); the loopback and any free port for None.

    Raises:
        UserError: it is not of that form.
    """
    if text is None:
        return "127.0.0.1", 0
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdigit() and 0 < int(port) < 65536):
        raise UserError(f"--oracle-address {text}: must be HOST:PORT, such as 10.0.0.5:8000")
    return host, int(port)
