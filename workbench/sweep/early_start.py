"""How a sweep command starts: its worker processes first, so that they import TensorFlow while the command does."""

import atexit
import contextlib
import os
import socket
from pathlib import Path
from typing import Any

from workbench.cli import Command
from workbench.errors import UserError
from workbench.files import read_json
from workbench.sweep.config import SearchConfig, check_sweep, get_trial_limit
from workbench.sweep.search import resolve_search
from workbench.sweep.sweep_file import TrialOptions
from workbench.sweep.worker_allocation import allocate_workers, list_usable_gpus
from workbench.sweep.workers import WorkerPool

_started: list[WorkerPool] = []  # by `start_workers_early`


def make_sweep_command(config_class: type, target: str, trial: TrialOptions, trained_by: str) -> Command:
    """Return the command of a sweep.

    Args:
        config_class: of the command's options, with the sections `data`, `search`, `workers` and `run`.
        target: `package.module:function`, called with the configuration.
        trial: the options that a sweep file can vary.
        trained_by: the command that trains one network with such options.
    """
    return Command(
        config_class,
        target,
        details=f"Options of {trained_by} that the sweep file does not vary can be given too, for all trials: "
        "--epochs 3.",
        before=lambda config: start_workers_early(config, trial),
        use_gpu=lambda config: config.workers.workers == 0,  # the command itself runs the trials
        needs_keras_tuner=True,
    )


def start_workers(config: Any) -> WorkerPool | None:
    """Start the worker processes of this machine.

    Args:
        config: of a sweep, with the sections `run` and `workers`.

    Returns:
        The pool, without orders, its logs in a hidden folder next to the sweep's; None where no workers are asked for.
    """
    workers = config.workers
    if workers.workers == 0:
        return None
    logs = Path(config.run.runs_dir) / f".workers-{socket.gethostname()}-{os.getpid()}"
    prefix = f"{socket.gethostname()}-worker" if workers.worker else "worker"
    pool = WorkerPool(allocate_workers(workers.workers), logs, prefix, has_temporary_logs=True)
    pool.start()
    return pool


def start_workers_early(config: Any, trial: TrialOptions) -> None:
    """Start the worker processes before the command imports TensorFlow, so that they do it at the same time.

    The command gets them from `take_started_workers`. If it does not, they end with it. It starts none if the named
    sweep has all its trials, or its folder cannot be written, which the command will find out.

    Raises:
        UserError: the sweep file or an option cannot be used.
    """
    check_sweep(config.search, config.workers)
    if not config.workers.worker:  # a worker gets the space from its chief
        config, space = resolve_search(config, trial)
        size, sizes = config.data.image_size, space.parameters.get("image_size", [space.fixed.get("image_size")])
        if size is not None and sizes not in ([None], [size]):
            raise UserError(f"--image-size {size}: --space {config.search.space} gives 'image_size' its values already")
    if config.run.name and has_all_trials(config.search, Path(config.run.runs_dir) / config.run.name):
        return
    with contextlib.suppress(OSError):
        pool = start_workers(config)
        if pool:
            _started.append(pool)
            atexit.register(lambda: pool.stop() if pool in _started else None)


def take_started_workers() -> WorkerPool | None:
    """Return the workers that `start_workers_early` has started, once; else None.

    TensorFlow is loaded by now. Workers that were started for GPUs which it does not see are ended, and None is
    returned, so that the command starts others for the CPU cores.
    """
    pool = _started.pop() if _started else None
    if pool and pool.allocation.gpus and not list_usable_gpus():
        pool.stop()
        return None
    return pool


def has_all_trials(search: SearchConfig, folder: Path) -> bool:
    """Return whether the sweep in a folder has as many trials as are asked for, so that it needs no workers."""
    trials = (read_json(folder / "metrics.json") or {}).get("trials")
    return trials is not None and trials == get_trial_limit(search)
