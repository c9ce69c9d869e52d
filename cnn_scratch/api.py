"""What `from cnn_scratch import ...` offers to programs and notebooks."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from cnn_scratch.config import TRIAL, TrainConfig, TuneConfig
from cnn_scratch.train import train as run_training
from cnn_scratch.tune import tune as run_sweep
from workbench.clock import start_command
from workbench.commandline.keywords import make_config, make_plain
from workbench.finished_run import FinishedRun, open_run
from workbench.sweep.early_start import start_workers_early
from workbench.sweep.finished_sweep import FinishedSweep, open_sweep


def train(data: str | os.PathLike | None = None, **options: Any) -> FinishedRun:
    """Train one five-block CNN, and return its run.

    Args:
        data: folder of images, or the name of a data set, by default `digits`; see `DataConfig` in workbench/config.py.
        options: those of `python -m cnn_scratch.train`, such as `epochs=5, image_size=64, num_filters=16`.

    Raises:
        TypeError: there is no such option.
        UserError: the data, an option or the run folder cannot be used, or the loss became NaN.
    """
    with start_command(is_process=False):
        given = options if data is None else {"data": data, **options}
        return open_run(run_training(make_config(TrainConfig, "train", given)))


def tune(
    space: str | os.PathLike | Mapping[str, Sequence[Any]] | None = None,
    data: str | os.PathLike = "digits",
    **options: Any,
) -> FinishedSweep:
    """Sweep the hyperparameters of the five-block CNN, or continue the sweep, and return it.

    Args:
        space: option -> the values to try, such as `{"dropout": [0.2, 0.4]}`; or a sweep file. By default
            configs/sweep.yaml. The values may be those of a NumPy array.
        data: folder of images, or the name of a data set.
        options: those of `python -m cnn_scratch.tune`, such as `max_trials=20`, and those of train that hold for all
            trials. `workers=0` runs the trials in this process.

    Raises:
        TypeError: there is no such option.
        UserError: the space, the data, an option or the folder cannot be used, or no trial could be completed.
    """
    values = {"data": data, **options}
    if space is not None:
        values["space"] = _write_space(space) if isinstance(space, Mapping) else space
    config = make_config(TuneConfig, "tune", values)
    with start_command(is_process=False):
        start_workers_early(config, TRIAL)
        return open_sweep(run_sweep(config))


def _write_space(space: Mapping[str, Sequence[Any]]) -> str:
    """Write a space to a sweep file, and return its path.

    The file is kept, because the line that says how to continue an interrupted sweep names it.
    """
    parameters = {name: {"values": make_plain(list(values))} for name, values in space.items()}
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="space-", suffix=".yaml", delete=False) as file:
        yaml.safe_dump({"parameters": parameters}, file, sort_keys=False)
    return file.name
