"""What the commands that sweep have in common: the folder that they hold, and the workers that they start."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.config import RunConfig, build, flatten, option_names, replace
from workbench.console import console, show_decoding
from workbench.data.dataset import Dataset, choose_image_size, load_dataset
from workbench.data.description import describe
from workbench.data.sources import open_source
from workbench.data.splits.earlier_runs import describe_unchecked_runs, find_used_images, list_unchecked_runs
from workbench.data.splits.groups import NO_GROUPS
from workbench.data.splits.kept_split import open_kept_split
from workbench.data.splits.saved_split import SPLIT
from workbench.devices.device import describe_device, print_device
from workbench.errors import UserError
from workbench.files import read_json, write_json, write_text
from workbench.signals import interrupt_on_sigterm
from workbench.sweep.early_start import has_all_trials, start_workers, take_started_workers
from workbench.sweep.executor import Executor
from workbench.sweep.image_hypermodel import TrialDefaults
from workbench.sweep.outcomes.outcome import OutcomeKind
from workbench.sweep.results import SweepResults
from workbench.sweep.running_sweep import PROJECT, Sweep, format_command
from workbench.sweep.search import find_space, list_given, resolve_search
from workbench.sweep.space import Space
from workbench.sweep.sweep_file import TrialOptions, read_space
from workbench.training.run_folder import RunFolder, make_name, read_config
from workbench.training.tracking import describe_sweep
from workbench.wording import agree, format_count

_IDENTITY = ("data", "image_size", "resize", "tuner", "order", "seed", "split_seed", "groups", "labels", "prune")


@contextlib.contextmanager
def open_sweep(config: Any, trial: TrialOptions, *, command: str, train_command: str) -> Iterator[Sweep]:
    """Hold the folder of a sweep, a new one or the one that the same command has begun.

    The worker processes are started first, so that they import TensorFlow while the data are loaded.

    Args:
        config: the command's configuration, with the sections `data`, `search`, `workers`, `fixed` and `run`.
        trial: the options of a trial.
        command, train_command: modules of the command that sweeps, and of the one that trains one network.

    Raises:
        UserError: the space, the data or the folder cannot be used, or the folder holds another sweep.
        KeyboardInterrupt: Ctrl-C or SIGTERM; says how to continue.
    """
    asked, executor = config, take_started_workers()  # `asked`: as typed; for the command that continues
    try:
        config, space = resolve_search(config, trial)
        config = resolve_sweep(config)
        folder = RunFolder(config.run)
        with folder.lock(), interrupt_on_sigterm():
            if not config.run.overwrite:
                _check_folder(folder.path)
            if has_all_trials(config.search, folder.path) and not config.run.overwrite:
                _stop(executor)
                executor = None
            elif executor is None:
                executor = start_workers(config)
            _begin(config, folder, space)
            began = read_json(folder.path / "sweep.json")["parameters"]
            space = space.sort_parameters(list(began))  # the file may have them in another order now
            if executor:
                executor.keep_logs(folder.path / "workers")
            trial_defaults = make_trial_defaults(folder, type(config), trial)
            device = executor.describe_device() if executor else describe_device()
            folder.describe_holder(device=device)
            if executor:
                print_device(device)
            console.print(_describe_space(space, config.search.tuner))
            describe_sweep(folder.logs, space.parameters)
            results = SweepResults(space.parameters, space.fixed, space.metric, space.direction)
            yield Sweep(config, asked, folder, space, trial_defaults, command, train_command, executor, device, results)
    except KeyboardInterrupt:
        resume = format_command(command, asked)
        raise KeyboardInterrupt(f"stopped; finished trials are kept. To continue:\n  {resume}") from None
    finally:
        _stop(executor)


def resolve_sweep(config: Any) -> Any:
    """Return the configuration of a sweep with its image size and its name.

    Raises:
        UserError: an option has a value that it cannot have.
    """
    image_size = choose_image_size(config.data)
    name = config.run.name or make_name(f"sweep-{open_source(config.data.data).name}-{image_size}px")
    return replace(config, image_size=image_size, name=name)


def make_trial_defaults(folder: RunFolder, config_class: type, trial: TrialOptions) -> TrialDefaults:
    """Return what the trials of a sweep have in common, from its `config.yaml` and `space.yaml` alone."""
    config: Any = read_config(folder.path, config_class)
    given = list_given(config)
    space = read_space(folder.path / "space.yaml", trial, given)
    options = set(option_names(trial.config_class)) - {"budget", *option_names(type(config.fixed))}
    shared = {name: value for name, value in flatten(config).items() if name in options}
    split_seed = config.search.seed if config.data.split_seed is None else config.data.split_seed
    own = {"name": None, "runs_dir": "runs", "logs_dir": "logs", "split_seed": split_seed}  # one split for all seeds
    base: Any = build(trial.config_class, **{**shared, **own, **space.fixed})
    can_continue = "epochs" in space.parameters or config.search.tuner == "hyperband"
    outcomes: OutcomeKind = (
        config.search.keep_outcomes if (folder.path / SPLIT).exists() else "none"
    )  # their order is the split's
    return TrialDefaults(base, space, folder, space.max_epochs if can_continue else 0, outcomes)


def read_trial_defaults(sweep: Path, config_class: type, trial: TrialOptions, data: str | None) -> TrialDefaults:
    """Return what the trials of a finished sweep have in common, from its folder.

    Args:
        sweep: its folder.
        config_class: of the command that made it.
        trial: the options of a trial.
        data: where its data is now; None if it is where it was.
    """
    path = sweep.resolve()
    defaults = make_trial_defaults(RunFolder(RunConfig(name=path.name, runs_dir=str(path.parent))), config_class, trial)
    return dataclasses.replace(defaults, base=replace(defaults.base, data=data)) if data else defaults


def _describe_space(space: Space, tuner: str) -> str:
    """Return a line about the number of different points, or of the parameters that are drawn from ranges."""
    parameters, drawn = format_count(len(space.parameters), "parameter"), len(space.distributions)
    if space.is_endless(tuner):
        verb, ranges = agree(drawn, "is", "are"), agree(drawn, "a range", "ranges")
        return f"space: {parameters}, {drawn} of them {verb} drawn from {ranges}"
    return f"space: {format_count(space.num_points, 'point')} of {parameters}"


def _begin(config: Any, folder: RunFolder, space: Space) -> None:
    """Read the data, refuse another sweep's folder, and write the sweep's first files.

    A sweep that is to be overwritten is removed when the data have been read: they may be found unusable.
    """
    kept = None if config.run.overwrite else open_kept_split(folder.path, "resume")
    begun = None if config.run.overwrite else read_json(folder.path / "sweep.json")
    if kept is None and begun is not None and "groups" not in begun:
        config = replace(config, groups=NO_GROUPS)  # the earlier version drew the split without groups
    bases = [base for base in space.list_values("from_") if isinstance(base, str)]
    used = find_used_images(*bases)
    dataset = load_dataset(config.data, config.search.seed, show_decoding, kept, used)
    text = find_space(config).read_text(encoding="utf-8")  # before `clear`: the file may be in the folder
    if config.run.overwrite:
        folder.clear()
    _check_same_sweep(folder.path, config, space, dataset, has_split=kept is not None)
    write_text(folder.path / "space.yaml", text)
    folder.write_config(config)
    folder.write_dataset(dataset, is_new=kept is None)
    lines = describe(dataset, str(space.fixed.get("class_weights", "none")))
    for line in (*lines, *describe_unchecked_runs(list_unchecked_runs(*bases))):
        console.print(line)


def _check_same_sweep(folder: Path, config: Any, space: Space, dataset: Dataset, *, has_split: bool) -> None:
    """Refuse a folder with a sweep that was begun with other settings; record the settings of a new one.

    The data of a sweep that keeps its split were compared with the split already.

    Raises:
        UserError: names what differs.
    """
    values = flatten(config)
    settings = {
        "parameters": space.parameters,
        "fixed": space.fixed,
        "metric": [space.metric, space.direction],
        "content of the data": dataset.key[:12],
        "distributions": {name: dataclasses.asdict(drawn) for name, drawn in space.distributions.items()},
        **{name: values[name] for name in _IDENTITY},
    }
    if space.probabilities:
        settings["probabilities"] = space.probabilities
    if space.halving:
        settings["early_terminate"] = {"epochs": list(space.halving.rungs), "eta": space.halving.factor}
    before = read_json(folder / "sweep.json")
    if before is None:
        write_json(folder / "sweep.json", settings)
        return
    for name in ("distributions", "groups", "labels"):  # a sweep of an earlier version did not record them
        before.setdefault(name, settings[name])
    if has_split:
        before["content of the data"] = settings["content of the data"]
    differences = [
        f"{name} was {before.get(name)}, is {settings.get(name)}"
        for name in sorted({*before, *settings})
        if before.get(name) != settings.get(name)
    ]
    if differences:
        raise UserError(
            f"{folder} holds a sweep that was begun with other settings ({'; '.join(differences)}): "
            "choose another --name, or replace it with --overwrite"
        )


def _check_folder(folder: Path) -> None:
    """Refuse the folder of a training, or of a sweep whose settings or finished trials are damaged.

    Raises:
        UserError: says what the folder holds and what to do.
    """
    if isinstance(read_json(folder / "sweep.json"), dict):
        for trial in sorted(path.parent for path in (folder / PROJECT).glob("trial_*/trial.json")):
            for path in (trial / "trial.json", trial / "result.json"):
                if path.exists() and not isinstance(read_json(path), dict):
                    raise UserError(f"{path}: damaged; restore it, or remove {trial} so that the trial is run again")
        return
    instead = "choose another --name, or replace it with --overwrite"
    if (folder / "sweep.json").exists() or any((folder / PROJECT).glob("trial_*")):
        problem = "damaged" if (folder / "sweep.json").exists() else "missing"
        raise UserError(
            f"{folder / 'sweep.json'}: {problem}, and the settings of this sweep's trials are not known without it; "
            f"restore the file, or {instead}"
        )
    if (folder / "history.csv").exists() or (folder / "model.keras").exists():
        raise UserError(f"{folder} holds a run that is not a sweep: {instead}")


def _stop(executor: Executor | None) -> None:
    if executor:
        executor.stop()
