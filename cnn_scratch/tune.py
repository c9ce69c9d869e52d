"""Sweep the five-block CNN's hyperparameters with KerasTuner; the same command again goes on with it."""

import dataclasses
import functools
import typing
from pathlib import Path

from cnn_scratch.model import NetworkConfig
from cnn_scratch.train import TrainConfig
from vision import cli
from vision.data.dataset import DataConfig, imbalance, load_dataset, resolve_image_size
from vision.errors import UserError
from vision.files import write_json, write_text
from vision.runs import RunConfig, RunFolder, config_yaml
from vision.settings import TrainingConfig

DEFAULT_SPACE = "configs/sweep.yaml"
VARIABLE = [field.name for base in (TrainingConfig, NetworkConfig) for field in dataclasses.fields(base)]
VARIABLE += ["image_size", "seed"]


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """Sweep.

    Args:
        space: YAML file of the parameters and their values.
        max_trials: Trials in all, or `all` for the whole space; raised later, the sweep goes on.
        order: `shuffled`, so that the first trials are a fair sample, or `lexicographic`.
    """

    space: str = DEFAULT_SPACE
    max_trials: int | typing.Literal["all"] = 16
    order: typing.Literal["shuffled", "lexicographic"] = "shuffled"


@dataclasses.dataclass(frozen=True)
class TuneConfig(RunConfig, SweepConfig, DataConfig):
    """Configuration of `python -m cnn_scratch.tune`."""


def tune(config):
    """Run a sweep, or go on with it.

    Args:
        config: a `TuneConfig`.

    Returns:
        Path of the sweep's run folder: `trials.csv`, `model.keras` and `best.yaml` of the best trial,
        `metrics.json`, `classes.json`, `config.yaml`, and KerasTuner's project in `tuner/`.

    Raises:
        UserError: the space, the data or the folder cannot be used, the folder holds another sweep, or no
            trial could be completed.
    """
    config = resolve_image_size(config)
    if config.max_trials != "all" and config.max_trials < 1:
        raise UserError(f"--max-trials {config.max_trials}: must be at least 1, or 'all'")
    from vision.runtime import load_tensorflow

    load_tensorflow()
    from vision.console import console, decoding_progress
    from vision.sweep.oracle import GridOracle
    from vision.sweep.space import read_space

    space = read_space(_space_path(config.space), TrainConfig, VARIABLE)
    dataset = load_dataset(config, config.seed, decoding_progress)
    config = dataclasses.replace(config, name=config.name or f"sweep-{dataset.name}-{config.image_size}px")
    folder = RunFolder(config)
    with folder.locked():
        if config.overwrite:
            folder.clear()
        _begin(folder, config, space, dataset)
        limit = None if config.max_trials == "all" else config.max_trials
        oracle = GridOracle(space, limit, config.seed, config.order)
        console.print(
            f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.validation):,} validation images of "
            f"{len(dataset.class_names)} classes, {config.image_size} px"
            + (f"; {len(dataset.unreadable)} unreadable" if dataset.unreadable else "")
        )
        if imbalance(dataset):
            console.print(imbalance(dataset))
        console.print(f"space: {len(space):,} points of {len(space.parameters)} parameters, trying {len(oracle):,}")
        _search(folder, config, space, dataset, oracle)
    return folder.path


def base_config(config, space):
    """The configuration of a trial before its point's values are put in."""
    shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(DataConfig)}
    return TrainConfig(**{**shared, "seed": config.seed, **space.fixed})


def _space_path(path):
    """The default space is found from any working directory."""
    return Path(__file__).parents[1] / DEFAULT_SPACE if path == DEFAULT_SPACE and not Path(path).exists() else path


def _begin(folder, config, space, dataset):
    from vision.sweep.engine import check_same_sweep
    from vision.tracking import describe_sweep

    identity = {
        "parameters": space.parameters,
        "fixed": space.fixed,
        "metric": [space.metric, space.direction],
        "data": config.data,
        "image_size": config.image_size,
        "resize": config.resize,
        "content of the data": dataset.key[:12],
        "order": config.order,
        "seed": config.seed,
    }
    check_same_sweep(folder.path, identity)
    folder.write_config(config)
    folder.write_dataset(dataset)
    describe_sweep(folder.logs, space.parameters)


def _search(folder, config, space, dataset, oracle):
    from cnn_scratch.trial import CnnHyperModel, weights_path
    from vision.console import console
    from vision.sweep.engine import SweepTuner
    from vision.sweep.progress import SweepProgress
    from vision.sweep.table import TrialTable
    from vision.tracking import wandb_run

    def wandb_listener(trial_id, trial_config):
        values = dataclasses.asdict(trial_config)
        return wandb_run(config.wandb, values, folder.path, group=config.name, name=f"{config.name}-{trial_id}")

    hypermodel = CnnHyperModel(base_config(config, space), dataset, folder.logs, [wandb_listener])
    table = TrialTable(folder.path / "trials.csv", oracle)
    trial_dir = functools.partial(_trial_dir, folder)

    def on_end(trial):
        table.append(trial)
        table.prune_weights(lambda trial: weights_path(trial_dir(trial)))
        progress.show(trial)

    tuner = SweepTuner(hypermodel, oracle, folder.path, on_end)
    table.write()
    progress = SweepProgress(table, len(oracle))
    progress.begin()
    try:
        tuner.search()
    except KeyboardInterrupt:
        done = len(oracle.finished_trials())
        console.print(f"\nstopped: {done} of {len(oracle)} trials are kept; the same command again goes on")
        raise
    _finish(folder, config, table, hypermodel, trial_dir)


def _trial_dir(folder, trial):
    return folder.path / "tuner" / f"trial_{trial.trial_id}"


def _finish(folder, config, table, hypermodel, trial_dir):
    """Leave the winner's model and configuration, and say where everything is and what to do next."""
    from vision.console import console, print_table
    from vision.sweep.progress import best_trials
    from vision.training import save_model

    trials = table.oracle.finished_trials()
    best = next(iter(table.best(1)), None)
    if best is None:
        reason = table.row(trials[0])["reason"]
        raise UserError(f"none of the {len(trials)} trials could be completed; the first: {reason}")
    save_model(hypermodel.best_model(best.hyperparameters, trial_dir(best)), folder.path)
    write_text(folder.path / "best.yaml", config_yaml(hypermodel.config(best.hyperparameters)))
    row = table.row(best)
    write_json(folder.path / "metrics.json", {**row, "trials": len(trials)})
    console.print()
    print_table(best_trials(table))
    failed = [trial for trial in trials if trial.score is None]
    if failed:
        console.print(f"{len(failed)} of {len(trials)} trials failed; their reasons are in {table.path}")
    _say_what_next(folder, config, len(trials), len(table.oracle.space))


def _say_what_next(folder, config, done, size):
    from vision.console import console

    command = "python -m cnn_scratch.tune" + (f" --data {config.data}" if config.data != "digits" else "")
    lines = [
        ("every trial", folder.path / "trials.csv"),
        ("best model", folder.path / "model.keras"),
        ("its settings", folder.path / "best.yaml"),
        ("curves and HParams", f"tensorboard --logdir {config.logs_dir}"),
        ("train the best again", f"python -m cnn_scratch.train --config {folder.path / 'best.yaml'}"),
    ]
    if done < size:
        lines.append(("more trials", f"{command} --max-trials {min(4 * done, size)}   (or all: {size:,})"))
    if config.data == "digits":
        lines.append(("your own photos", "python -m cnn_scratch.tune --data FOLDER   (one folder of images a class)"))
    console.print()
    for what, where in lines:
        console.print(f"{what + ':':22}{where}")


def main(argv=None):
    """Run the command line."""
    cli.main(tune, TuneConfig, prog="python -m cnn_scratch.tune", description=__doc__, argv=argv)


if __name__ == "__main__":
    main()
