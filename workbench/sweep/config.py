"""The settings of a sweep, whatever is swept."""

import dataclasses
from typing import Literal

from workbench.config import parse_duration
from workbench.errors import UserError

DEFAULT_SPACE = "configs/sweep.yaml"
DEFAULT_TRIALS = 16
MAX_REPEATS = 1000
LOOPBACK = "127.0.0.1"


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Search.

    Args:
        space: YAML file of the parameters and their values.
        tuner: `grid` tries every point once; `random` does the same, but draws values from ranges; `bayesian` tries
            where the results so far promise most; `hyperband` gives more epochs to the best of many short trials. By
            default the `method` of the sweep file, or grid.
        max_trials: Number of trials in all, or `all` for the whole space. By default the `run_cap` of the sweep file,
            or 16; those of one iteration for hyperband. The same command with a larger number continues the sweep.
        order: Order of the grid: `shuffled`, so that the first trials are a fair sample, or `lexicographic`.
        prune: Stop a trial that is worse at an epoch than the `median` of the others, or that is not among the best
            quarter at one of a few epochs (successive `halving`). For grid and random. By default halving at the
            epochs of `early_terminate` where the sweep file has it, else `off`.
        budget: Start no trial that would not end within this time, such as 30m or 2h.
        keep: Number of best trials whose weights are kept.
        keep_outcomes: What is kept of each trial's predictions for the validation images: `all` probabilities, or of
            the `true-class` alone, or `none`. Accuracy on new images and ensembles are estimated from them.
        repeat: Train the best 3 trials again with this many other seeds each, when the sweep is complete; mean and
            spread are reported. --budget does not limit it.
        seed: Seed of the split, of the shuffled order, and of each trial's training unless the sweep varies it.
    """

    space: str = DEFAULT_SPACE
    tuner: Literal["grid", "random", "bayesian", "hyperband"] | None = None
    max_trials: int | Literal["all"] | None = None
    order: Literal["shuffled", "lexicographic"] = "shuffled"
    prune: Literal["off", "median", "halving"] | None = None
    budget: str | None = None
    keep: int = 5
    keep_outcomes: Literal["all", "true-class", "none"] = "all"
    repeat: int = 0
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class WorkersConfig:
    """Workers.

    Args:
        workers: Number of worker processes on this machine; `auto` is one per GPU, or one per CPU core. 0 runs the
            trials in the command's own process.
        chief: Serve trials to workers on other machines too, at --oracle-address.
        worker: Work for a chief on another machine, at --oracle-address; --name and --runs-dir must lead to the folder
            of its sweep.
        oracle_address: HOST:PORT where the chief listens; without it, only this machine can connect.
    """

    workers: int | Literal["auto"] = "auto"
    chief: bool = False
    worker: bool = False
    oracle_address: str | None = None


def check_sweep(search: SearchConfig, workers: WorkersConfig) -> None:
    """Refuse settings that no sweep can have.

    Raises:
        UserError: names the option.
    """
    if isinstance(search.max_trials, int) and search.max_trials < 1:
        raise UserError(f"--max-trials {search.max_trials}: must be at least 1, or 'all'")
    if isinstance(workers.workers, int) and workers.workers < 0:
        raise UserError(f"--workers {workers.workers}: must be 0 or more, or 'auto'")
    if not 0 <= search.seed < 2**32:
        raise UserError(f"--seed {search.seed}: must be 0 or more, and below 2^32")
    if search.keep < 1:
        raise UserError(f"--keep {search.keep}: must be at least 1")
    if not 0 <= search.repeat <= MAX_REPEATS:
        raise UserError(f"--repeat {search.repeat}: must be between 0 and {MAX_REPEATS:,}")
    if workers.chief and workers.worker:
        raise UserError("--chief and --worker: a command is one or the other")
    if (workers.chief or workers.worker) and workers.oracle_address is None:
        raise UserError("--oracle-address HOST:PORT is needed with --chief and with --worker")
    if workers.oracle_address and not (workers.chief or workers.worker):
        raise UserError("--oracle-address: add --chief to listen there, or --worker to work for the chief there")
    if search.prune in ("median", "halving") and search.tuner in ("bayesian", "hyperband"):
        raise UserError(f"--prune {search.prune}: is for --tuner grid or random; {search.tuner} has its own way")
    parse_duration(search.budget)
    parse_address(workers.oracle_address)


def get_trial_limit(search: SearchConfig) -> int | None:
    """Return the number of trials that is asked for; None for as many as there are."""
    if search.max_trials is None:
        return None if search.tuner == "hyperband" else DEFAULT_TRIALS
    return None if search.max_trials == "all" else search.max_trials


def parse_address(text: str | None) -> tuple[str, int]:
    """Return `HOST:PORT` as (host, port); for None the loopback and port 0, which means any free one.

    Raises:
        UserError: the text has another form.
    """
    if text is None:
        return LOOPBACK, 0
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdigit() and 0 < int(port) < 65536):
        raise UserError(f"--oracle-address {text}: must be HOST:PORT, such as 10.0.0.5:8000")
    return host, int(port)
