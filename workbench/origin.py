"""Which command a file of options or a run folder belongs to, for errors about one that another command was given."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench.commandline.calls import format_call
from workbench.files import read_json, read_yaml

_OF_CNN = {
    "num_filters",
    "filter_size",
    "filter_org",
    "activation",
    "batch_norm",
    "dense_units",
    "head",
    "initializer",
    "start_size",
}
_OF_TRANSFER = {
    *("backbone", "weights", "mode", "k", "until", "train_bn", "views", "feature_precision"),
    *("backbone_learning_rate", "lr_decay", "head_epochs"),
}
_OF_SWEEPS = {
    *("space", "tuner", "max_trials", "order", "prune", "keep", "keep_outcomes", "repeat"),
    *("workers", "executor", "ray_address"),
}
_OF_SPACES = {"parameters", "metric", "method"}
_TUNE = {"cnn_scratch.train": "cnn_scratch.tune", "transfer.run": "transfer.tune"}


def find_command(names: Iterable[str]) -> str | None:
    """Return the command that has all these options, judged by those that no other command has; None if unknown."""
    names = set(names)
    command = "transfer.run" if names & _OF_TRANSFER else "cnn_scratch.train" if names & _OF_CNN else None
    if not names & _OF_SWEEPS:
        return command
    return _TUNE[command] if command else None


def is_sweep_file(names: Iterable[str]) -> bool:
    """Return whether a YAML file with these keys describes a sweep's space, and no options."""
    return bool({*names} & _OF_SPACES)


def read_run_options(folder: Path) -> Mapping[str, Any]:
    """Return the content of the config.yaml of a run folder; empty if there is none, or if it holds no options.

    Raises:
        UserError: it is not YAML.
    """
    path = folder / "config.yaml"
    values = read_yaml(path) if path.is_file() else None
    return values if isinstance(values, dict) else {}


def find_command_of_run(folder: Path, values: Mapping[str, Any]) -> str | None:
    """Return the command that made a run folder; None if it is not known.

    Args:
        folder: of the run.
        values: content of its config.yaml.
    """
    if not is_sweep(values):
        return find_command(values)
    metrics, settings = read_json(folder / "metrics.json"), read_json(folder / "sweep.json")
    trained_by = metrics.get("train_module") if isinstance(metrics, dict) else None
    if trained_by in _TUNE:
        return _TUNE[trained_by]
    names = {*values}
    for part in ("parameters", "fixed"):
        names |= {*(settings.get(part) or {})} if isinstance(settings, dict) else set()
    return find_command(names)


def is_sweep(values: Mapping[str, Any]) -> bool:
    """Return whether these are the options of a sweep: `keep` and `max_trials` are in every config.yaml of one."""
    return "max_trials" in values and "keep" in values


def describe_resuming(folder: str | Path, values: Mapping[str, Any]) -> str:
    """Return what a run folder holds and the command that continues it.

    Args:
        folder: of the run, as the user gave it.
        values: content of its config.yaml.
    """
    path = Path(folder)
    command = find_command_of_run(path, values)
    config, quoted = shlex.quote(str(path / "config.yaml")), shlex.quote(str(folder))
    if command is None:
        return f"is a {'sweep' if is_sweep(values) else 'run'}; the command that began it continues it"
    if not is_sweep(values):
        return f"is a run of {command}; continue it with {format_call(command)} --resume {quoted}"
    space = shlex.quote(str(path / "space.yaml"))
    return f"is a sweep of {command}; continue it with {format_call(command)} --config {config} --space {space}"
