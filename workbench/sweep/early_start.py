"""How a sweep command starts: its worker processes first, so that they import TensorFlow while the command does."""

import atexit
import contextlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workbench.cli import Command
from workbench.errors import UserError
from workbench.files import read_json
from workbench.sweep.config import SearchConfig, WorkersConfig, check_sweep, get_trial_limit
from workbench.sweep.executor import Executor
from workbench.sweep.search import resolve_search
from workbench.sweep.sweep_file import TrialOptions
from workbench.sweep.worker_allocation import allocate_workers
from workbench.sweep.workers import WorkerPool

_started: list[Executor] = []  # by `start_workers_early`


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


def start_workers(config: Any) -> Executor | None:
    """Start the workers of a sweep.

    Args:
        config: of a sweep, with the sections `run` and `workers`.

    Returns:
        The workers, without orders; None where no workers are asked for. Processes of this machine have their logs in a
        hidden folder next to the sweep's.

    Raises:
        UserError: Ray is not installed, or its cluster cannot be reached.
    """
    workers = config.workers
    if workers.workers == 0:
        return None
    executor: Executor
    if workers.executor == "ray":
        packages = {"workbench", type(config).__module__.partition(".")[0]}
        executor = load_ray_executor()(workers, sorted(packages))
    else:
        logs = Path(config.run.runs_dir) / f".workers-{os.getpid()}"
        executor = WorkerPool(allocate_workers(workers.workers), logs, has_temporary_logs=True)
    executor.start()
    return executor


def load_ray_executor() -> Callable[[WorkersConfig, Sequence[str]], Executor]:
    """Import Ray, and return the class of its executor.

    Raises:
        UserError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError("--executor ray: Ray is not installed; pip install ray")
    return importlib.import_module("workbench.sweep.ray_cluster.executor").RayExecutor


def start_workers_early(config: Any, trial: TrialOptions) -> None:
    """Start the worker processes before the command imports TensorFlow, so that they do it at the same time.

    The command gets them from `take_started_workers`. If it does not, they end with it. It starts none if the named
    sweep has all its trials, or its folder cannot be written, which the command will find out.

    Raises:
        UserError: the sweep file or an option cannot be used.
    """
    check_sweep(config.search, config.workers)
    config, space = resolve_search(config, trial)
    size, sizes = config.data.image_size, space.parameters.get("image_size", [space.fixed.get("image_size")])
    if size is not None and sizes not in ([None], [size]):
        raise UserError(f"--image-size {size}: --space {config.search.space} gives 'image_size' its values already")
    if config.run.name and has_all_trials(config.search, Path(config.run.runs_dir) / config.run.name):
        return
    with contextlib.suppress(OSError):
        executor = start_workers(config)
        if executor:
            _started.append(executor)
            atexit.register(lambda: executor.stop() if executor in _started else None)


def take_started_workers() -> Executor | None:
    """Return the workers that `start_workers_early` has started, once; else None.

    TensorFlow is loaded by now. Workers that were started for GPUs which it does not see are ended, and None is
    returned, so that the command starts others for the CPU cores.
    """
    executor = _started.pop() if _started else None
    if executor and not executor.is_usable():
        executor.stop()
        return None
    return executor


def has_all_trials(search: SearchConfig, folder: Path) -> bool:
    """Return whether the sweep in a folder has as many trials as are asked for, so that it needs no workers."""
    trials = (read_json(folder / "metrics.json") or {}).get("trials")
    return trials is not None and trials == get_trial_limit(search)
