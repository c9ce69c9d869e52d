"""Sweep the five-block CNN's hyperparameters with KerasTuner; the same command again goes on with it."""

import dataclasses
import shutil
from pathlib import Path

from cnn_scratch.model import NetworkConfig
from cnn_scratch.train import TrainConfig
from vision import cli
from vision.data.dataset import DataConfig, imbalance, load_dataset, resolve_image_size
from vision.data.sources import open_source
from vision.runs import RunConfig, RunFolder, read_config
from vision.settings import TrainingConfig
from vision.sweep.engine import Definition, check_same_sweep, run_sweep, save_winner, start_workers, work_for_chief
from vision.sweep.settings import DEFAULT_SPACE, SearchConfig, WorkersConfig

VARIABLE = [field.name for base in (TrainingConfig, NetworkConfig) for field in dataclasses.fields(base)]
VARIABLE += ["image_size", "seed"]


@dataclasses.dataclass(frozen=True)
class TuneConfig(RunConfig, WorkersConfig, SearchConfig, DataConfig):
    """Configuration of `python -m cnn_scratch.tune`."""


def tune(config):
    """Run a sweep, or go on with it, or work for one that runs elsewhere.

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
    source = open_source(config.data)
    config = dataclasses.replace(config, name=config.name or f"sweep-{source.name}-{config.image_size}px")
    folder = RunFolder(config)
    if config.worker:
        _work(config, folder)
        return folder.path
    with folder.locked():
        if config.overwrite:
            folder.clear()
        pool = start_workers(config, folder.path)  # they start while this process does
        try:
            _sweep(config, folder, pool)
        finally:
            if pool:
                pool.stop()
    return folder.path


def _work(config, folder):
    """Run this machine's workers for the chief of the sweep in `folder`."""
    from vision.sweep.space import read_space

    read_config(folder.path, TuneConfig)  # a wrong folder is told before anything starts
    pool = start_workers(config, folder.path)
    space = read_space(folder.path / "space.yaml", TrainConfig, VARIABLE)
    work_for_chief(config, folder.path, DEFINITION, (space.metric, space.direction), pool)


def _sweep(config, folder, pool):
    from vision.runtime import load_tensorflow

    load_tensorflow(use_gpu=config.workers == 0)
    from vision.console import console, decoding_progress
    from vision.sweep.space import read_space
    from vision.tracking import describe_sweep

    space_path = _space_path(config.space)
    space = read_space(space_path, TrainConfig, VARIABLE)
    dataset = load_dataset(config, config.seed, decoding_progress)
    check_same_sweep(folder.path, _identity(config, space, dataset))
    shutil.copyfile(space_path, folder.path / "space.yaml")
    folder.write_config(config)
    folder.write_dataset(dataset)
    console.print(
        f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.validation):,} validation images of "
        f"{len(dataset.class_names)} classes, {config.image_size} px"
        + (f"; {len(dataset.unreadable)} unreadable" if dataset.unreadable else "")
    )
    if imbalance(dataset):
        console.print(imbalance(dataset))
    console.print(f"space: {len(space):,} points of {len(space.parameters)} parameters")
    describe_sweep(folder.logs, space.parameters)
    hypermodel = DEFINITION.hypermodel(folder.path)
    try:
        table = run_sweep(config, folder.path, space, DEFINITION, hypermodel, pool)
    except KeyboardInterrupt:
        console.print(f"\nstopped; finished trials are kept, and this goes on:\n  {_command(config)}")
        raise
    _finish(folder, config, space, table, hypermodel)


def make_hypermodel(folder):
    """The hypermodel of the sweep in a run folder, from its `config.yaml` and `space.yaml` alone."""
    from cnn_scratch.trial import CnnHyperModel
    from vision.sweep.space import read_space

    config = read_config(folder, TuneConfig)
    config = dataclasses.replace(config, runs_dir=str(Path(folder).parent), name=Path(folder).name)
    space = read_space(Path(folder) / "space.yaml", TrainConfig, VARIABLE)
    shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(DataConfig)}
    base = TrainConfig(**{**shared, "seed": config.seed, "wandb": config.wandb, **space.fixed})
    continuing = "epochs" in space.parameters or config.tuner == "hyperband"
    return CnnHyperModel(base, space, RunFolder(config), _max_epochs(space) if continuing else 0)


def _max_epochs(space):
    return max(space.parameters.get("epochs", [space.fixed.get("epochs", TrainingConfig.epochs)]))


DEFINITION = Definition("cnn_scratch.tune:make_hypermodel", _max_epochs)


def _space_path(path):
    """The default space is found from any working directory."""
    default = Path(__file__).parents[1] / DEFAULT_SPACE
    return default if path == DEFAULT_SPACE and not Path(path).exists() else path


def _identity(config, space, dataset):
    """What must stay the same from one call of a sweep to the next."""
    names = ("data", "image_size", "resize", "tuner", "order", "seed", "prune")
    return {
        "parameters": space.parameters,
        "fixed": space.fixed,
        "metric": [space.metric, space.direction],
        "content of the data": dataset.key[:12],
        **{name: getattr(config, name) for name in names},
    }


def _command(config):
    return f"python -m cnn_scratch.tune{cli.options(config, skip={'overwrite'})}"


def _finish(folder, config, space, table, hypermodel):
    """Leave the winner's model and configuration, and say where everything is and what to do next."""
    from vision.console import console
    from vision.report import leave_report
    from vision.sweep.progress import best_trials

    save_winner(folder.path, table, hypermodel, program="cnn_scratch.train")
    console.print()
    console.print(best_trials(table), soft_wrap=False)
    if table.failed:
        console.print(f"{table.failed} of {len(table)} trials failed; their reasons are in {table.path}")
    if table.oracle.out_of_time:
        console.print(f"the budget of {config.budget} holds no further trial")
    lines = [
        ("every trial", table.path),
        ("best model", folder.path / "model.keras"),
        ("its settings", folder.path / "best.yaml"),
        ("report", leave_report(folder.path)),
        ("curves and HParams", f"tensorboard --logdir {config.logs_dir}"),
        ("train the best again", f"python -m cnn_scratch.train --config {folder.path / 'best.yaml'}"),
    ]
    if len(table) < len(space):
        more = dataclasses.replace(config, max_trials=min(4 * len(table), len(space)), budget=None)
        lines.append(("more trials", f"{_command(more)}   (or all: {len(space):,})"))
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
