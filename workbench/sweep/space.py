"""The space of a sweep: a YAML file that Weights & Biases reads too, as KerasTuner's HyperParameters."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import yaml

from workbench import cli
from workbench.config import flatten
from workbench.errors import UserError

METRICS = ("val_accuracy", "val_loss")  # what a sweep can go by
_LOG, _LINEAR = {"log_uniform_values"}, {"uniform", "q_uniform", "int_uniform"}


@dataclasses.dataclass(frozen=True)
class Space:
    """What a sweep varies.

    Attributes:
        parameters: name -> list of values, in the file's order; the grid is their product.
        fixed: name -> the one value it has in every trial.
        hyperparameters: the same space as `keras_tuner.HyperParameters`.
        metric: name of the objective.
        direction: `max` or `min`.
    """

    parameters: dict
    fixed: dict
    hyperparameters: object
    metric: str
    direction: str

    def values(self, encoded):
        """KerasTuner's values of a trial as configuration values.

        On their way through KerasTuner's protocol numbers are rounded to 32 bits; here they are the space's
        own again. Hyperband's number of epochs becomes `epochs`.
        """
        values = {name: self._own(name, value) for name, value in encoded.items() if not name.startswith("tuner/")}
        if "tuner/epochs" in encoded:
            values["epochs"] = int(encoded["tuner/epochs"])
        return values

    def _own(self, name, value):
        for own in self.parameters[name]:
            if value in (encode(own), json.dumps(own)) and isinstance(value, bool) == isinstance(own, bool):
                return own
            if isinstance(value, float) and math.isclose(value, own, rel_tol=1e-6):
                return own
        return float(f"{value:.6g}") if isinstance(value, float) else value

    def point(self, index):
        """The values at a place of the grid whose last parameter turns fastest: name -> value."""
        digits = {}
        for name, values in reversed(self.parameters.items()):
            index, digits[name] = divmod(index, len(values))
        return {name: values[digits[name]] for name, values in self.parameters.items()}

    def __len__(self):
        size = 1
        for values in self.parameters.values():
            size *= len(values)
        return size


def read_space(path, config_class, names):
    """Read a sweep file.

    Args:
        path: a YAML file with `parameters` and, if wanted, `metric`, as `wandb sweep` takes it.
        config_class: dataclass of a trial's configuration; values are checked against its fields' types.
        names: the fields that can be varied.

    Raises:
        UserError: the file cannot be read, or it varies something that is no option; names it.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--space {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"--space {path}: not a YAML file ({error})") from None
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise UserError(f"--space {path}: has no 'parameters'; see configs/sweep.yaml for how it looks")

    import keras_tuner

    hyperparameters, parameters, fixed = keras_tuner.HyperParameters(), {}, {}
    for name, entry in content["parameters"].items():
        if name not in names:
            raise UserError(f"--space {path}: '{name}' cannot be varied; these can: {', '.join(names)}")
        values = _declare(hyperparameters, name, entry, path)
        values = [_checked(value, name, config_class, path) for value in values]
        if len(values) > 1:
            parameters[name] = values
        else:
            fixed[name] = values[0]
    return Space(parameters, fixed, hyperparameters, *_objective(content.get("metric") or {}, path))


def encode(value):
    """A value as KerasTuner can hold it: lists as JSON text."""
    return json.dumps(value) if isinstance(value, list) else value


def _objective(metric, path):
    name, goal = metric.get("name", "val_accuracy"), metric.get("goal", "maximize")
    if name not in METRICS:
        raise UserError(f"--space {path}: metric '{name}' is none of {', '.join(METRICS)}")
    if goal not in ("maximize", "minimize"):
        raise UserError(f"--space {path}: metric goal '{goal}' is neither maximize nor minimize")
    return name, goal[:3]


def _declare(hyperparameters, name, entry, path):
    """Add a parameter to `hyperparameters` if it varies; its list of values."""
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


def _declare_choice(hyperparameters, name, values, where):
    if not isinstance(values, list) or not values:
        raise UserError(f"{where}: 'values' must be a list with at least one value")
    encoded = [encode(value) for value in values]
    if len(set(encoded)) < len(encoded):
        raise UserError(f"{where}: a value stands twice")
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


def _declare_range(hyperparameters, name, entry, where):
    low, high, step = entry["min"], entry["max"], entry.get("q")
    numbers = [value for value in (low, high, step) if value is not None]
    if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers) or low >= high:
        raise UserError(f"{where}: 'min' must be a number below 'max'")
    whole = all(isinstance(number, int) for number in numbers)
    distribution = entry.get("distribution", "int_uniform" if whole else "uniform")
    if distribution not in _LOG | _LINEAR:
        raise UserError(f"{where}: distribution '{distribution}' is none of {', '.join(sorted(_LOG | _LINEAR))}")
    if distribution in _LOG and low <= 0:
        raise UserError(f"{where}: a logarithmic range must begin above 0")
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


def _checked(value, name, config_class, path):
    return flatten(cli.from_values(config_class, {name: value}, where=f"--space {path}"))[name]
