"""A search space as KerasTuner's hyperparameters."""

import json
from collections.abc import Sequence

import keras_tuner

from workbench.sweep import results
from workbench.sweep.space import Space, encode


def make_objective(space: Space) -> keras_tuner.Objective:
    """Return the metric of a sweep and its direction."""
    return keras_tuner.Objective(space.metric, space.direction)


def make_hyperparameters(space: Space) -> keras_tuner.HyperParameters:
    """Return the parameters that vary, in the order of the file."""
    hyperparameters = keras_tuner.HyperParameters()
    for name, values in space.parameters.items():
        distribution = space.distributions.get(name)
        if distribution is None or distribution.step is not None:
            _declare_choice(hyperparameters, name, values, ordered=distribution is not None or name in space.steps)
        else:
            declare = hyperparameters.Int if distribution.is_whole else hyperparameters.Float
            sampling = "log" if distribution.kind == "log" else "linear"
            declare(name, min_value=values[0], max_value=values[-1], sampling=sampling)
    return hyperparameters


def _declare_choice(
    hyperparameters: keras_tuner.HyperParameters, name: str, values: Sequence[results.Value], *, ordered: bool
) -> None:
    if all(isinstance(value, bool) for value in values):
        hyperparameters.Boolean(name, default=values[0])
        return
    encoded = [encode(value) for value in values]
    if len({type(value) for value in encoded}) > 1:
        encoded = [json.dumps(value) for value in values]
    hyperparameters.Choice(name, encoded, default=encoded[0], ordered=ordered)
