"""The settings of a sweep, whatever is swept."""

import dataclasses
import math
from typing import Literal

from workbench.config import option_name, parse_duration
from workbench.errors import UserError

DEFAULT_SPACE = "configs/sweep.yaml"
DEFAULT_TRIALS = 16
MAX_REPEATS = 1000


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
        budget: Start no trial that would not end within this time, such as 30m or 1h30m.
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
        workers: Number of workers; `auto` is one per GPU, or one per CPU core. 0 runs the trials in the command's own
            process. With --executor ray, `auto` is as many as the cluster has room for; a larger number waits for
            further machines.
        executor: Where the trials run: in processes of this machine (`local`), or on a `ray` cluster.
        ray_address: Address of the Ray cluster, or `auto` for the one that this machine belongs to. By default that
            one too; where there is none, Ray is started on this machine for the time of the sweep.
        worker_cpus: CPU cores that each worker asks Ray for.
        worker_gpus: GPUs that each worker asks Ray for, such as 0.5. By default 1 where the cluster has GPUs.
    """

    workers: int | Literal["auto"] = "auto"
    executor: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    worker_cpus: int = 1
    worker_gpus: float | None = None


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
    if workers.executor == "ray" and workers.workers == 0:
        raise UserError("--workers 0: --executor ray needs at least one worker")
    if workers.executor != "ray":
        for name in ("ray_address", "worker_gpus"):
            if getattr(workers, name) is not None:
                raise UserError(f"{option_name(name)}: is for --executor ray")
        if workers.worker_cpus != 1:
            raise UserError("--worker-cpus: is for --executor ray")
    if workers.worker_cpus < 1:
        raise UserError(f"--worker-cpus {workers.worker_cpus}: must be at least 1")
    if workers.worker_gpus is not None and not 0 <= workers.worker_gpus < math.inf:
        raise UserError(f"--worker-gpus {workers.worker_gpus}: must be 0 or more")
    if search.prune in ("median", "halving") and search.tuner in ("bayesian", "hyperband"):
        raise UserError(f"--prune {search.prune}: is for --tuner grid or random; {search.tuner} has its own way")
    parse_duration(search.budget)


def get_trial_limit(search: SearchConfig) -> int | None:
    """Return the number of trials that is asked for; None for as many as there are."""
    if search.max_trials is None:
        return None if search.tuner == "hyperband" else DEFAULT_TRIALS
    return None if search.max_trials == "all" else search.max_trials
