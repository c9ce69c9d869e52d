"""The search space of a sweep: a YAML file that Weights & Biases reads too, as KerasTuner's HyperParameters."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import yaml

from workbench import cli
from workbench.config import flatten
from workbench.errors import UserError
from workbench.sweep import results
from workbench.sweep.scheduling.pruning import Direction
from workbench.sweep.scheduling.trial import Value as EncodedValue

METRICS = ("val_accuracy", "val_loss")  # by which trials can be ranked
_LOG, _LINEAR = {"log_uniform_values"}, {"uniform", "q_uniform", "int_uniform"}


@dataclasses.dataclass(frozen=True)
class Space:
    """What a sweep varies.

    Attributes:
        parameters: name -> list of values, in the order of the file; the grid is their product.
        fixed: name -> the one value that it has in every trial.
        hyperparameters: the same space as `keras_tuner.HyperParameters`.
        metric: name of the result by which trials are ranked.
        direction: `max` or `min`.
    """

    parameters: dict[str, list[results.Value]]
    fixed: dict[str, results.Value]
    hyperparameters: keras_tuner.HyperParameters
    metric: str
    direction: Direction

    @property
    def objective(self) -> keras_tuner.Objective:
        """The metric and its direction."""
        return keras_tuner.Objective(self.metric, self.direction)

    @property
    def grid(self) -> dict[str, list[EncodedValue]]:
        """The values of each parameter as KerasTuner can hold them."""
        return {name: [encode(value) for value in values] for name, values in self.parameters.items()}

    def decode(self, encoded: Mapping[str, Any]) -> dict[str, results.Value]:
        """Return KerasTuner's values of a trial as values of a configuration.

        KerasTuner's protocol rounds numbers to 32 bits; the space's own numbers are returned. Hyperband's number of
        epochs becomes `epochs`.
        """
        values = {name: self._decode(name, value) for name, value in encoded.items() if not name.startswith("tuner/")}
        if "tuner/epochs" in encoded:
            values["epochs"] = int(encoded["tuner/epochs"])
        return values

    def _decode(self, name: str, value: Any) -> results.Value:
        for own in self.parameters[name]:
            if value in (encode(own), json.dumps(own)) and isinstance(value, bool) == isinstance(own, bool):
                return own
            if isinstance(value, float) and isinstance(own, int | float) and math.isclose(value, own, rel_tol=1e-6):
                return own
        return float(f"{value:.6g}") if isinstance(value, float) else value

    def get_point(self, number: int) -> dict[str, results.Value]:
        """Return the values at a place of the grid whose last parameter changes fastest."""
        digits = {}
        for name, values in reversed(self.parameters.items()):
            number, digits[name] = divmod(number, len(values))
        return {name: values[digits[name]] for name, values in self.parameters.items()}

    def __len__(self) -> int:
        return math.prod(len(values) for values in self.parameters.values())


def read_space(path: str | Path, config_class: type, names: Sequence[str]) -> Space:
    """Read a sweep file.

    Args:
        path: a YAML file with `parameters` and optionally `metric`, as `wandb sweep` takes it.
        config_class: the configuration of a trial; values are checked against the types of its options.
        names: the options that can be varied.

    Raises:
        UserError: the file cannot be read, or it varies something that is not an option; names it.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--space {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"--space {path}: not a YAML file ({error})") from None
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise UserError(f"--space {path}: has no 'parameters'; see configs/sweep.yaml for an example")

    hyperparameters, parameters, fixed = keras_tuner.HyperParameters(), {}, {}
    for name, entry in content["parameters"].items():
        if name not in names:
            raise UserError(f"--space {path}: '{name}' cannot be varied; these can: {', '.join(names)}")
        values = _declare(hyperparameters, name, entry, path)
        values = [_check_value(value, name, config_class, path) for value in values]
        if len(values) > 1:
            parameters[name] = values
        else:
            fixed[name] = values[0]
    metric, direction = _read_objective(content.get("metric") or {}, path)
    return Space(parameters, fixed, hyperparameters, metric, direction)


def encode(value: Any) -> EncodedValue:
    """Return a value as KerasTuner can hold it: lists as JSON text."""
    return json.dumps(value) if isinstance(value, list) else value


def _read_objective(metric: Mapping[str, str], path: Path) -> tuple[str, Direction]:
    name, goal = metric.get("name", "val_accuracy"), metric.get("goal", "maximize")
    if name not in METRICS:
        raise UserError(f"--space {path}: metric '{name}' is none of {', '.join(METRICS)}")
    if goal not in ("maximize", "minimize"):
        raise UserError(f"--space {path}: metric goal '{goal}' is neither maximize nor minimize")
    return name, "max" if goal == "maximize" else "min"


def _declare(hyperparameters: keras_tuner.HyperParameters, name: str, entry: Any, path: Path) -> list[Any]:
    """Add a parameter to `hyperparameters` if it varies, and return its list of values."""
    where = f"--space {path}: parameter '{name}'"
    if not isinstance(entry, dict):
        raise UserError(f"{where}: give 'values', 'value', or 'min' and 'max'")
    if "value" in entry:
        return [entry["value"]]
    if "values" in entry:
        return _declare_choice(hyperparameters, name, entry["values"], where)
    if "min" in entry and "max" in entry:
        return _declare_range(hyperparameters, name, entry, where)
    raise UserError(f"{where}: give 'values', 'value', or 'min' and 'max'")


def _declare_choice(hyperparameters: keras_tuner.HyperParameters, name: str, values: Any, where: str) -> list[Any]:
    if not isinstance(values, list) or not values:
        raise UserError(f"{where}: 'values' must be a list with at least one value")
    encoded = [encode(value) for value in values]
    if len(set(encoded)) < len(encoded):
        raise UserError(f"{where}: a value occurs twice")
    if len(values) == 1:
        return values
    if all(isinstance(value, bool) for value in values):
        hyperparameters.Boolean(name, default=values[0])
        return values
    if any(isinstance(value, float) for value in values):
        encoded = values = [float(value) for value in values]
    if len({type(value) for value in encoded}) > 1:
        encoded = [json.dumps(value) for value in values]
    hyperparameters.Choice(name, encoded, default=encoded[0], ordered=False)
    return values


def _declare_range(
    hyperparameters: keras_tuner.HyperParameters, name: str, entry: Mapping[str, Any], where: str
) -> list[Any]:
    low, high, step = entry["min"], entry["max"], entry.get("q")
    numbers = [value for value in (low, high, step) if value is not None]
    if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers) or low >= high:
        raise UserError(f"{where}: 'min' must be a number below 'max'")
    whole = all(isinstance(number, int) for number in numbers)
    distribution = entry.get("distribution", "int_uniform" if whole else "uniform")
    if distribution not in _LOG | _LINEAR:
        raise UserError(f"{where}: distribution '{distribution}' is none of {', '.join(sorted(_LOG | _LINEAR))}")
    if distribution in _LOG and low <= 0:
        raise UserError(f"{where}: a logarithmic range must start above 0")
    if step is None:
        declare = hyperparameters.Int if whole else hyperparameters.Float
        declare(name, min_value=low, max_value=high, sampling="log" if distribution in _LOG else "linear")
        spaced = np.geomspace(low, high, 10) if distribution in _LOG else np.linspace(low, high, 10)
        return sorted({round(value) if whole else float(f"{value:.6g}") for value in spaced.tolist()})
    if distribution in _LOG or step <= 0:
        raise UserError(f"{where}: 'q' is a step above 0 of a linear range")
    values = [low + index * step for index in range(int((high - low) / step + 1e-9) + 1)]
    values = values if whole else [round(value, 12) for value in values]
    hyperparameters.Choice(name, values, ordered=True)
    return values


def _check_value(value: Any, name: str, config_class: type, path: Path) -> results.Value:
    return flatten(cli.from_values(config_class, {name: value}, where=f"--space {path}"))[name]
