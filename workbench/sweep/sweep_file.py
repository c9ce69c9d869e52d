"""Read a sweep file: YAML that Weights & Biases reads too, with the same meaning."""

import dataclasses
import difflib
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.commandline.options import Option, convert_value, list_options, takes
from workbench.commandline.shipped_files import describe_shipped
from workbench.config import build, option_name
from workbench.errors import UserError
from workbench.files import read_yaml
from workbench.sweep import results
from workbench.sweep.distributions import Distribution, read_distribution, read_number
from workbench.sweep.scheduling.pruning import Direction
from workbench.sweep.space import METRICS, Halving, Space

METHODS = {"grid": "grid", "random": "random", "bayes": "bayesian"}  # of Weights & Biases -> --tuner
_FOR_WANDB = {  # keys that say how Weights & Biases runs the sweep
    *("program", "project", "entity", "name", "description", "command", "controller"),
    *("job", "image_uri", "apiVersion", "kind"),
}
_KEYS = {"method", "metric", "parameters", "early_terminate", "run_cap"}
_MAX_EPOCHS = 1_000_000
_SAMPLE = 200  # points with which a value is tried before it is refused


@dataclasses.dataclass(frozen=True)
class TrialOptions:
    """The options of a trial, as a sweep file may vary them.

    Attributes:
        config_class: the configuration of a trial.
        names: the options that can be varied.
        check: raises a `UserError` if a configuration has a number that is out of its range.
        find_epochs: returns the number of epochs of a configuration, also where it was not given.
    """

    config_class: type
    names: tuple[str, ...]
    check: Callable[[Any], None]
    find_epochs: Callable[[Any], int] = lambda config: config.training.epochs


def read_space(path: str | Path, trial: TrialOptions, given: Mapping[str, results.Value] | None = None) -> Space:
    """Read a sweep file, and refuse what no trial could use or no search could honour.

    Args:
        path: a YAML file with `parameters` and optionally `method`, `metric`, `early_terminate` and `run_cap`, as
            `wandb sweep` takes it.
        trial: the options that can be varied; each value is checked against the type and the range of its option.
        given: options that the command line gives for all trials.

    Raises:
        UserError: the file cannot be read or honoured, or it gives an option that the command line gives too.
    """
    try:
        return _read_space(Path(path), trial, given or {})
    except OSError as error:
        raise UserError(f"--space {path}: {error.strerror}{describe_shipped(path)}") from None
    except UserError as error:
        raise UserError(f"--space {path}: {str(error).removeprefix(f'{path}: ')}") from None


def _read_space(path: Path, trial: TrialOptions, given: Mapping[str, results.Value]) -> Space:
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise UserError("has no 'parameters'; see configs/sweep.yaml for an example")
    _refuse_unknown_keys(content, _KEYS | _FOR_WANDB, "key")
    metric, direction = _read_objective(content.get("metric"))
    parameters: dict[str, list[results.Value]] = {}
    distributions: dict[str, Distribution] = {}
    probabilities: dict[str, list[float]] = {}
    steps = set()
    known = {option_name(name): name for name in trial.names}
    options = {option.name: option for option in list_options(trial.config_class)}
    for key, entry in content["parameters"].items():
        name = known.get(option_name(str(key)))
        if name is None:
            raise UserError(f"'{key}' cannot be varied; these can: {', '.join(trial.names)}")
        if name in parameters:
            raise UserError(f"parameter '{name}' is given twice, also as '{key}'")
        try:
            values = _read_values(entry, takes_fractions=takes(options[name].type, float))
            if isinstance(values, Distribution):
                distributions[name], values = values, values.list_points()
            elif "min" in entry:
                steps.add(name)
            parameters[name] = _convert_values(options[name], values, is_range="min" in entry)
            if "probabilities" in entry:
                probabilities[name] = _read_probabilities(entry, len(values))
        except UserError as error:
            where = f"parameter '{name}'"
            raise UserError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from None
    fixed = {name: values[0] for name, values in parameters.items() if len(values) == 1}
    for name, value in given.items():
        if name in parameters and fixed.get(name) != value:
            option = f"{option_name(name)} {value}"
            raise UserError(f"gives '{name}' its values, and so does {option}; leave one of them out")
        fixed[name] = value
    varied = {name: values for name, values in parameters.items() if name not in fixed}
    space = Space(
        varied,
        fixed,
        metric,
        direction,
        {name: distribution for name, distribution in distributions.items() if name in varied},
        {name: shares for name, shares in probabilities.items() if name in varied},
        frozenset(steps & varied.keys()),
        _read_method(content.get("method")),
        _read_early_terminate(content.get("early_terminate")),
        _read_run_cap(content.get("run_cap")),
    )
    _check_ranges(space, trial)
    return dataclasses.replace(space, max_epochs=_find_max_epochs(space, trial))


def _find_max_epochs(space: Space, trial: TrialOptions) -> int:
    """Return the largest number of epochs that a trial can have; the default may depend on one parameter."""
    given: Any = space.list_values("epochs")
    if given:
        return max(given)
    point = {**space.get_point(0), **space.fixed}
    points = ({**point, name: value} for name, values in space.parameters.items() for value in values)
    return max(trial.find_epochs(build(trial.config_class, **values)) for values in (point, *points))


def _refuse_unknown_keys(entry: Mapping[Any, Any], allowed: set[str], what: str) -> None:
    for key in entry:
        if key not in allowed:
            close = difflib.get_close_matches(str(key), allowed, n=1)
            raise UserError(f"unknown {what} '{key}'" + (f": did you mean '{close[0]}'?" if close else ""))


def _read_objective(metric: Any) -> tuple[str, Direction]:
    """Return the metric and its direction, which is the one in which the metric improves unless the file says more."""
    if metric is None:
        metric = {}
    if not isinstance(metric, dict):
        raise UserError("'metric' must have a 'name' and a 'goal'")
    _refuse_unknown_keys(metric, {"name", "goal"}, "key of metric")
    name, goal = metric.get("name", "val_accuracy"), metric.get("goal")
    if not isinstance(name, str) or name not in METRICS:
        raise UserError(f"metric '{name}' is none of {', '.join(METRICS)}")
    if goal not in (None, "maximize", "minimize"):
        raise UserError(f"metric goal '{goal}' is neither maximize nor minimize")
    if goal is None:
        return name, METRICS[name]
    return name, "max" if goal == "maximize" else "min"


def _read_method(method: Any) -> str | None:
    """Return the tuner of a method of Weights & Biases."""
    if method is None:
        return None
    tuner = METHODS.get(str(method).lower())
    if tuner is None:
        hint = "; for hyperband leave it out and give --tuner hyperband" if str(method).lower() == "hyperband" else ""
        raise UserError(f"method '{method}' is none of {', '.join(METHODS)}{hint}")
    return tuner


def _read_run_cap(cap: Any) -> int | None:
    if cap is not None and (not isinstance(cap, int) or isinstance(cap, bool) or cap < 1):
        raise UserError(f"run_cap {cap}: must be a whole number of at least 1")
    return cap


def _read_early_terminate(entry: Any) -> Halving | None:
    """Return when trials end early. The keys mean what they mean to Weights & Biases; an iteration is an epoch."""
    if entry is None:
        return None
    if not isinstance(entry, dict) or str(entry.get("type")).lower() != "hyperband":
        raise UserError("early_terminate must have the type hyperband")
    try:
        _refuse_unknown_keys(entry, {"type", "min_iter", "max_iter", "s", "eta", "strict"}, "key")
        if entry.get("strict"):
            raise UserError("strict is not supported; leave it out")
        for name in ("min_iter", "max_iter", "s", "eta"):
            value, least = entry.get(name, 3), 1.01 if name == "eta" else 1
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not least <= value < math.inf or (name != "eta" and value != int(value)):
                raise UserError(f"{name} {value}: must be {'above 1' if name == 'eta' else 'a whole number above 0'}")
        if not ({"max_iter", "s"} <= entry.keys()) ^ ("min_iter" in entry):
            raise UserError("give either min_iter, or max_iter and s")
        rungs, factor = set(), entry.get("eta", 3)
        epoch, ratio = (entry["min_iter"], factor) if "min_iter" in entry else (entry["max_iter"] / factor, 1 / factor)
        for _ in range(100 if "min_iter" in entry else min(entry["s"], 100)):
            if 1 <= epoch < _MAX_EPOCHS:
                rungs.add(int(epoch))
                epoch *= ratio
        if not rungs:
            raise UserError("would compare trials before their first epoch; give a larger max_iter")
    except UserError as error:
        raise UserError(f"early_terminate: {error}") from None
    return Halving(tuple(sorted(rungs)), factor)


def _read_values(entry: Any, *, takes_fractions: bool) -> list[Any] | Distribution:
    """Return the values of a parameter, or what they are drawn from."""
    missing = "give 'values', 'value', or 'min' and 'max'"
    if not isinstance(entry, dict):
        raise UserError(missing)
    distribution = str(entry.get("distribution", "")).lower()
    for key, name in (("value", "constant"), ("values", "categorical")):
        if key not in entry and distribution == name:
            raise UserError(f"a {name} distribution needs '{key}'")
        if key in entry:
            others = {"distribution", key, *(["probabilities"] if key == "values" else [])}
            _refuse_unknown_keys(entry, others, f"key next to '{key}'")
            if distribution not in ("", name, f"{name}_w_probabilities"):
                raise UserError(f"a {distribution} distribution has no '{key}'")
    if "value" in entry:
        return [entry["value"]]
    if "values" in entry:
        if not isinstance(entry["values"], list) or not entry["values"]:
            raise UserError("'values' must be a list with at least one value")
        return entry["values"]
    if "parameters" in entry:
        raise UserError("nested parameters are not supported: the options of a training are flat")
    if not distribution and not ("min" in entry and "max" in entry):
        raise UserError(missing)
    if "q" in entry and distribution in ("", "uniform", "int_uniform"):
        return _list_steps(entry)
    return read_distribution(entry, takes_fractions=takes_fractions)


def _list_steps(entry: Mapping[str, Any]) -> list[Any]:
    """Return `min`, `min` + `q`, ... up to `max`: the steps of a range without a q_ distribution."""
    _refuse_unknown_keys(entry, {"distribution", "min", "max", "q"}, "key")
    low, high, step = (read_number(entry, name) for name in ("min", "max", "q"))
    if low >= high:
        raise UserError("'min' must be a number below 'max'")
    if step <= 0 or (high - low) / step > 1000:
        raise UserError("'q' must be above 0, and at least a thousandth of the range")
    values = [low + index * step for index in range(int((high - low) / step + 1e-9) + 1)]
    whole = all(isinstance(number, int) for number in (low, high, step))
    return values if whole else [round(value, 12) for value in values]


def _convert_values(option: Option, values: Sequence[Any], *, is_range: bool) -> list[results.Value]:
    """Return values with the type and the spelling of their option; of a range, the first and last are checked."""

    where = f"parameter '{option.name}'"
    if is_range:
        kind = float if isinstance(convert_value(option, values[0], where), float) else int
        convert_value(option, values[-1], where)
        return [kind(value) for value in values]
    converted = [convert_value(option, value, where) for value in values]
    if any(value in converted[:place] for place, value in enumerate(converted)):
        raise UserError("a value occurs twice")
    return converted


def _read_probabilities(entry: Mapping[str, Any], count: int) -> list[float]:
    shares = entry["probabilities"]
    if not isinstance(shares, list) or len(shares) != count:
        raise UserError("'probabilities' must be a list with one number for each of the values")
    if not all(isinstance(share, int | float) and not isinstance(share, bool) and share >= 0 for share in shares):
        raise UserError("'probabilities' must be numbers of 0 or more")
    if not math.isclose(sum(shares), 1, abs_tol=1e-3):
        raise UserError(f"'probabilities' must sum to 1, not {sum(shares):g}")
    return [float(share) for share in shares]


def _check_ranges(space: Space, trial: TrialOptions) -> None:
    """Refuse a value with which no point of the space can be trained.

    Raises:
        UserError: names the parameter and the range of its option.
    """
    for name, values in space.parameters.items():
        distribution = space.distributions.get(name)
        for value in distribution.list_extremes() if distribution else values:
            error = _find_error(space, trial, {name: value})
            if error and distribution:
                low, high = distribution.list_extremes()
                raise UserError(f"parameter '{name}' is drawn between {low:g} and {high:g}: {error}")
            if error:
                raise UserError(error)
    error = _find_error(space, trial, {})
    if error:
        raise UserError(error)


def _find_error(space: Space, trial: TrialOptions, values: Mapping[str, results.Value]) -> str:
    """Return why no point with these values can be trained; nothing if one can."""
    reason = ""
    for others in _sample_points(space):
        try:
            trial.check(build(trial.config_class, **{**others, **space.fixed, **values}))
        except UserError as error:
            reason = reason or str(error)
            continue
        return ""
    return reason


def _sample_points(space: Space) -> Iterator[dict[str, results.Value]]:
    """Yield the first point, and then some points of the space at random, always the same."""
    generator = random.Random(0)
    yield {name: values[0] for name, values in space.parameters.items()}
    for _ in range(_SAMPLE):
        yield {name: generator.choice(values) for name, values in space.parameters.items()}
