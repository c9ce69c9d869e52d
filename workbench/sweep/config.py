"""The settings of a sweep, whatever is swept."""

import dataclasses
import typing

from workbench.errors import UserError
from workbench.training.config import seconds

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
    """

    space: str = DEFAULT_SPACE
    tuner: typing.Literal["grid", "random", "bayesian", "hyperband"] = "grid"
    max_trials: int | typing.Literal["all"] | None = None
    order: typing.Literal["shuffled", "lexicographic"] = "shuffled"
    prune: typing.Literal["off", "median", "halving"] = "off"
    budget: str | None = None
    keep: int = 5


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


def check_sweep(config):
    """Refuse settings that make no sweep.

    Args:
        config: has the fields of `SearchConfig` and `WorkersConfig`.

    Raises:
        UserError: names the option.
    """
    if config.max_trials not in ("all", None) and config.max_trials < 1:
        raise UserError(f"--max-trials {config.max_trials}: must be at least 1, or 'all'")
    if config.workers != "auto" and config.workers < 0:
        raise UserError(f"--workers {config.workers}: must be 0 or more, or 'auto'")
    if config.keep < 1:
        raise UserError(f"--keep {config.keep}: must be at least 1")
    if config.chief and config.worker:
        raise UserError("--chief and --worker: a command is one or the other")
    if (config.chief or config.worker) and config.oracle_address is None:
        raise UserError("--oracle-address HOST:PORT is needed with --chief and with --worker")
    if config.oracle_address and not (config.chief or config.worker):
        raise UserError("--oracle-address: say --chief to listen there, or --worker to work for the chief there")
    if config.prune != "off" and config.tuner not in ("grid", "random"):
        raise UserError(f"--prune {config.prune}: goes with --tuner grid or random; {config.tuner} has its own way")
    seconds(config.budget)
    address(config.oracle_address)


def trial_limit(config):
    """Number of trials that `config` asks for, or None for as many as there are."""
    if config.max_trials is None:
        return None if config.tuner == "hyperband" else DEFAULT_TRIALS
    return None if config.max_trials == "all" else config.max_trials


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
