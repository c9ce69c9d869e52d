"""How a sweep is searched: what its file asks for, unless an option of the command line asks for something else."""

from pathlib import Path
from typing import Any

from workbench.commandline.shipped_files import find_file
from workbench.config import flatten, replace
from workbench.errors import UserError
from workbench.sweep import results
from workbench.sweep.config import check_sweep
from workbench.sweep.space import Space
from workbench.sweep.sweep_file import TrialOptions, read_space


def find_space(config: Any) -> Path:
    """Return the path of the sweep file that a command's configuration names."""
    return find_file(config.search.space)


def list_given(config: Any) -> dict[str, results.Value]:
    """Return the options of a trial that the command line of a sweep gives: name -> value."""
    return {name: value for name, value in flatten(config.fixed).items() if value is not None}


def resolve_search(config: Any, trial: TrialOptions) -> tuple[Any, Space]:
    """Read the sweep file of a command, and settle with which tuner, pruning and number of trials it is searched.

    An option of the command line wins over the file.

    Returns:
        The configuration with `tuner`, `prune` and `max_trials` set, and the space.

    Raises:
        UserError: the file cannot be used, or the tuner cannot do what the file asks for.
    """
    check_sweep(config.search, config.workers)
    search, space = config.search, read_space(find_space(config), trial, list_given(config))
    tuner = search.tuner or space.tuner or "grid"
    prune = search.prune or ("halving" if space.halving else "off")
    max_trials = search.max_trials or space.max_trials
    config = replace(config, tuner=tuner, prune=prune, max_trials=max_trials)
    where = f"--space {search.space}"
    if space.halving and prune != "off" and tuner not in ("grid", "random"):
        raise UserError(
            f"{where}: early_terminate is for the methods grid and random, the tuner {tuner} has its own way: "
            "remove it, or add --prune off"
        )
    if space.halving and prune == "halving" and space.list_values("epochs"):
        longest, first = space.max_epochs, space.halving.rungs[0]
        if first >= longest:
            raise UserError(
                f"{where}: early_terminate would end no trial: it compares trials after {first} epochs, and the "
                f"longest has {longest}: change it, or add --prune off"
            )
    if space.probabilities and tuner != "random":
        name = next(iter(space.probabilities))
        raise UserError(f"{where}: parameter '{name}': 'probabilities' are for the method random, not for {tuner}")
    if tuner in ("bayesian", "hyperband"):
        for name, distribution in space.distributions.items():
            if not distribution.is_bounded:
                raise UserError(
                    f"{where}: parameter '{name}': a {distribution.kind} distribution is for the methods random and "
                    f"grid; {tuner} needs 'min' and 'max'"
                )
    check_sweep(config.search, config.workers)
    return config, space
