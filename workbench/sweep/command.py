"""What every `tune` command does: run a sweep, go on with it, or work for one that runs elsewhere."""

import shutil
from pathlib import Path

from workbench import cli
from workbench.config import TrainingConfig, build, flatten, option_names, replace
from workbench.data.dataset import choose_image_size, describe, load_dataset
from workbench.data.sources import open_source
from workbench.files import read_json
from workbench.sweep.config import check_sweep, trial_limit
from workbench.sweep.engine import check_same_sweep, run_sweep, save_winner, start_workers, work_for_chief
from workbench.training.run_folder import RunFolder, read_config


def tune(config, definition):
    """Run a sweep, or go on with it, or work for one that runs elsewhere.

    Args:
        config: the command's configuration, of the class that `definition` names.
        definition: a `workbench.sweep.engine.Definition`.

    Returns:
        Path of the sweep's run folder: `trials.csv`, `model.keras` and `best.yaml` of the best trial,
        `metrics.json`, `classes.json`, `config.yaml`, and KerasTuner's project in `tuner/`.

    Raises:
        UserError: the space, the data or the folder cannot be used, the folder holds another sweep, or no
            trial could be completed.
    """
    check_sweep(config.search, config.workers)
    asked, config = config, replace(config, image_size=choose_image_size(config.data))
    source = open_source(config.data.data)
    config = replace(config, name=config.run.name or f"sweep-{source.name}-{config.data.image_size}px")
    folder = RunFolder(config.run)
    if config.workers.worker:
        _work(config, folder, definition)
        return folder.path
    with folder.lock():
        if config.run.overwrite:
            folder.clear()
        pool = None if _is_done(config, folder.path) else start_workers(config, folder.path)
        try:
            _sweep(config, asked, folder, pool, definition)
        finally:
            if pool:
                pool.stop()
    return folder.path


def _is_done(config, folder):
    """Whether the sweep in `folder` has as many trials as are asked for, so that no worker is needed."""
    trials = (read_json(folder / "metrics.json") or {}).get("trials")
    return trials is not None and trials == trial_limit(config.search)


def hypermodel_arguments(folder, definition):
    """What a hypermodel is made of, from a sweep's `config.yaml` and `space.yaml` alone.

    Returns:
        The arguments of `workbench.sweep.hypermodel.TrialHyperModel`.
    """
    config = read_config(folder, definition.config_class)
    config = replace(config, runs_dir=str(Path(folder).parent), name=Path(folder).name)
    space = _read_space(Path(folder) / "space.yaml", definition)
    trial_fields = set(option_names(definition.trial_class)) - {"budget"}  # the sweep's own
    shared = {name: value for name, value in flatten(config).items() if name in trial_fields}
    own = {"name": None, "runs_dir": "runs", "logs_dir": "logs"}
    own["split_seed"] = (
        config.search.seed if config.data.split_seed is None else config.data.split_seed
    )  # whatever a trial's seed is
    base = build(definition.trial_class, **{**shared, **own, **space.fixed})
    continuing = "epochs" in space.parameters or config.search.tuner == "hyperband"
    return base, space, RunFolder(config.run), max_epochs(space) if continuing else 0


def max_epochs(space):
    """The largest number of epochs a trial can have."""
    return max(space.parameters.get("epochs", [space.fixed.get("epochs", TrainingConfig.epochs)]))


def _read_space(path, definition):
    from workbench.sweep.space import read_space

    return read_space(path, definition.trial_class, definition.variable)


def _work(config, folder, definition):
    """Run this machine's workers for the chief of the sweep in `folder`."""
    read_config(folder.path, definition.config_class)  # a wrong folder is told before anything starts
    pool = start_workers(config, folder.path)
    space = _read_space(folder.path / "space.yaml", definition)
    work_for_chief(config, folder.path, definition, (space.metric, space.direction), pool)


def _sweep(config, asked, folder, pool, definition):
    """Sweep with `config`; `asked` is what was typed, and so what to type again."""
    from workbench.runtime import load_tensorflow

    load_tensorflow(use_gpu=config.workers.workers == 0)
    from workbench.console import console, show_decoding
    from workbench.training.tracking import describe_sweep

    space_path = _space_path(config)
    space = _read_space(space_path, definition)
    dataset = load_dataset(config.data, config.search.seed, show_decoding)
    check_same_sweep(folder.path, _identity(config, space, dataset))
    shutil.copyfile(space_path, folder.path / "space.yaml")
    folder.write_config(config)
    folder.write_dataset(dataset)
    for line in describe(dataset, space.fixed.get("class_weights", "none")):
        console.print(line)
    console.print(f"space: {len(space):,} points of {len(space.parameters)} parameters")
    describe_sweep(folder.logs, space.parameters)
    hypermodel = definition.hypermodel(folder.path)
    try:
        table = run_sweep(config, folder.path, space, definition, hypermodel, pool, max_epochs(space))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; finished trials are kept, and this goes on:\n  {_command(asked, definition)}"
        ) from None
    _finish(folder, asked, space, table, hypermodel, definition)


def _space_path(config):
    """The default space is found from any working directory."""
    default = type(config)().search.space
    shipped = Path(__file__).parents[2] / default
    return shipped if config.search.space == default and not Path(default).exists() else config.search.space


def _identity(config, space, dataset):
    """What must stay the same from one call of a sweep to the next."""
    values = flatten(config)
    names = ("data", "image_size", "resize", "tuner", "order", "seed", "split_seed", "prune")
    return {
        "parameters": space.parameters,
        "fixed": space.fixed,
        "metric": [space.metric, space.direction],
        "content of the data": dataset.key[:12],
        **{name: values[name] for name in names},
    }


def _command(config, definition):
    return f"python -m {definition.tune_module}{cli.format_options(config, skip={'overwrite'})}"


def _finish(folder, config, space, table, hypermodel, definition):
    """Leave the winner's model and configuration, and say where everything is and what to do next."""
    from workbench.console import console
    from workbench.reporting.run_report import leave_report
    from workbench.sweep.progress import tabulate_best_trials

    save_winner(folder.path, table, hypermodel, definition.train_module)
    console.print()
    console.print(tabulate_best_trials(table.results), soft_wrap=False)
    if table.results.failed:
        failed = len(table.results.failed)
        console.print(f"{failed} of {len(table)} trials failed; their reasons are in {table.path}")
    if table.oracle.out_of_time:
        console.print(f"the budget of {config.search.budget} holds no further trial")
    lines = [
        ("every trial", table.path),
        ("best model", folder.path / "model.keras"),
        ("its settings", folder.path / "best.yaml"),
        ("report", leave_report(folder.path)),
        ("curves and HParams", f"tensorboard --logdir {config.run.logs_dir}"),
        ("train the best again", f"python -m {definition.train_module} --config {folder.path / 'best.yaml'}"),
    ]
    if len(table) < len(space):
        more = replace(config, max_trials=min(4 * len(table), len(space)), budget=None)
        lines.append(("more trials", f"{_command(more, definition)}   (or all: {len(space):,})"))
    if config.data.data == "digits":
        own = f"python -m {definition.tune_module} --data FOLDER   (one folder of images a class)"
        lines.append(("your own photos", own))
    console.print()
    for what, where in lines:
        console.print(f"{what + ':':22}{where}")
